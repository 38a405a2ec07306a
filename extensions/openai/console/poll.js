// Asks again and again while a view is shown and the page can be seen.

/** `step` is awaited every `seconds`; what it throws ends nothing. Returns a function that ends it. */
export function poll(step, seconds) {
  let ended = false, timer = null;
  const run = async () => {
    if (ended) return;
    try {
      if (!document.hidden) await step();
    } catch (error) {
      if (!error.status && error.constructor.name !== "ConnectionLost") throw error;
    } finally {
      if (!ended) timer = setTimeout(run, seconds * 1000);
    }
  };
  timer = setTimeout(run, seconds * 1000);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
