// Files that go along with a message: pictures, sounds and texts, as the parts that the API takes.

import { t } from "./texts.js";

const SOUNDS = { "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3" };
const TEXTS = /^text\/|json|xml|yaml|javascript|x-sh/;
const TEXT_NAMES = /\.(txt|md|csv|tsv|json|ya?ml|toml|xml|html?|css|js|ts|py|rs|go|c|h|cpp|java|sh|sql|log|tex|ini)$/i;

/** The part for a file: {kind, name, address, sent}. Throws an Error that says why it cannot be sent. */
export async function partOf(file, capabilities) {
  if (file.type.startsWith("image/")) {
    if (!capabilities.includes("vision")) throw new Error(t.chat.noPictures);
    const address = await read(file, "readAsDataURL");
    return { kind: "picture", name: file.name, address, sent: { type: "image_url", image_url: { url: address } } };
  }
  if (SOUNDS[file.type]) {
    if (!capabilities.includes("audio")) throw new Error(t.chat.noSounds);
    const address = await read(file, "readAsDataURL");
    const sent = { type: "input_audio", input_audio: { data: address.split(",")[1], format: SOUNDS[file.type] } };
    return { kind: "sound", name: file.name, address, sent };
  }
  if (TEXTS.test(file.type) || TEXT_NAMES.test(file.name)) {
    const text = await read(file, "readAsText");
    return { kind: "text", name: file.name, sent: { type: "text", text: `${file.name}:\n\n${text}` } };
  }
  throw new Error(t.chat.noFile(file.name));
}

function read(file, how) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(t.chat.noFile(file.name)));
    reader[how](file);
  });
}
