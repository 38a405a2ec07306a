// Shapes of the icons, drawn for this console on a grid of 24 by 24.

export const CHAT = "M4 5h16v11H10l-4 4v-4H4z";
export const STORED = "M4 5h16v5H4zM4 14h16v5H4zM8 7.5h.01M8 16.5h.01";
export const BATCHES = "M5 5h14M5 10h14M5 15h7M15 18l2 2 4-5";
export const REQUESTS = "M4 12h4l3-7 4 14 2-7h3";
export const USAGE = "M5 20V10M12 20V4M19 20v-7";
export const MODELS = "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9";
export const KEYS = "M14 10a4 4 0 1 0-4 4l2-2h3v-2h2v-2h3V5h-3z";
export const SEND = "M12 19V5M6 11l6-6 6 6";
export const STOP = "M7 7h10v10H7z";
export const COPY = "M9 9h11v11H9zM5 15H4V4h11v1";
export const EDIT = "M4 20l1-4L16 5l3 3L8 19z";
export const AGAIN = "M5 12a7 7 0 1 1 2 5M5 19v-4h4";
export const BRANCH = "M7 4v16M7 16c0-6 10-3 10-10M14 8l3-3 3 3";
export const BACK = "M14 6l-6 6 6 6";
export const FORTH = "M10 6l6 6-6 6";
export const ATTACH = "M19 11l-7 7a4 4 0 0 1-6-6l8-8a3 3 0 0 1 4 4l-8 8a1 1 0 0 1-2-2l7-7";
export const CODE = "M9 7l-5 5 5 5M15 7l5 5-5 5";
export const PLUS = "M12 5v14M5 12h14";
export const SETTINGS = "M4 7h10M18 7h2M16 5v4M4 17h2M10 17h10M8 15v4";
export const CLOSE = "M6 6l12 12M18 6L6 18";
export const DELETE = "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13";
export const EXPORT = "M12 4v11M7 10l5 5 5-5M5 20h14";
export const LOCK = "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3";
export const THEME = "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16";
export const TOKENS = "M4 6h7v5H4zM13 6h7v5h-7zM4 14h10v5H4z";
