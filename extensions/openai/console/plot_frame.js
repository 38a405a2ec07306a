// Inside the frame of a figure: draws what the console sends. A frame without an origin, so no module.

(() => {
  const AXIS = { gridcolor: "rgba(128,128,128,.25)", zerolinecolor: "rgba(128,128,128,.5)" };
  const tell = (what) => parent.postMessage(what, "*");
  if (typeof Plotly === "undefined") {
    tell("failed");
    return;
  }
  addEventListener("message", async ({ source, data }) => {
    if (source !== parent) return;
    const { figure, ink } = data;
    const given = figure.layout ?? {};
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", ...given, template: { layout: { xaxis: AXIS, yaxis: AXIS } }, font: { color: ink, ...given.font }, autosize: true,
      width: undefined, height: undefined, margin: { t: 48, r: 24, b: 48, l: 56, ...given.margin },
    };
    try {
      await Plotly.newPlot("plot", figure.data ?? [], layout, { responsive: true, displaylogo: false, showLink: false });
      tell("drawn");
    } catch {
      tell("failed");
    }
  });
  tell("ready");
})();
