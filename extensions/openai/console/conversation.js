// A conversation: a tree of messages, of which one path is shown; and the conversations of this tab.

/**
 * A message: {id, parent, role, content, parts, reasoning, calls, call, tokens, stats, finish, error}.
 * `parts`: pictures, sounds and files beside the text; `calls`: what the model calls; `call`: the id that a result of a
 * tool answers; `tokens`: log-probabilities.
 */
export class Conversation {
  constructor({ id = crypto.randomUUID?.() ?? String(Math.random()).slice(2), title = "", nodes = [], chosen = {} } = {}) {
    this.id = id;
    this.title = title;
    this.nodes = new Map(nodes.map((node) => [node.id, node]));
    this.chosen = chosen;
  }

  /** Add a message behind another one (null: at the beginning), and show it. */
  add(parent, message) {
    const id = `m${this.nodes.size + 1}`;
    const node = { parent, content: "", ...message, id };
    this.nodes.set(id, node);
    this.chosen[parent ?? ""] = id;
    if (!this.title && node.role === "user" && node.content) this.title = node.content.trim().split("\n")[0].slice(0, 60);
    return node;
  }

  /** All versions of a message, the oldest first. */
  versions(node) {
    return [...this.nodes.values()].filter((each) => each.parent === node.parent);
  }

  choose(node) {
    this.chosen[node.parent ?? ""] = node.id;
  }

  /** The messages that are shown, or those that lead to one. */
  path(last = undefined) {
    if (last) {
      const found = [];
      for (let node = last; node; node = this.nodes.get(node.parent)) found.unshift(node);
      return found;
    }
    const found = [];
    for (let id = this.chosen[""]; id; id = this.chosen[id]) found.push(this.nodes.get(id));
    return found;
  }

  /** Another conversation that goes on behind a message. */
  branch(last) {
    const made = new Conversation();
    let parent = null;
    for (const { id: _, parent: __, ...message } of this.path(last)) parent = made.add(parent, structuredClone(message)).id;
    return made;
  }

  toJSON() {
    return { id: this.id, title: this.title, nodes: [...this.nodes.values()], chosen: this.chosen };
  }
}

/** What the API calls a message. */
export function asMessage({ role, content, parts, calls, call }) {
  if (role === "tool") return { role, tool_call_id: call, content };
  if (role === "assistant") {
    const made = { role, content: content || (calls?.length ? null : "") };
    if (calls?.length) {
      made.tool_calls = calls.map((each) => ({ id: each.id, type: "function", function: { name: each.name, arguments: each.arguments } }));
    }
    return made;
  }
  if (!parts?.length) return { role, content };
  return { role, content: [...(content ? [{ type: "text", text: content }] : []), ...parts.map((part) => part.sent)] };
}

const CHATS = "openedai.chats";
const MOST = 50;

/** The conversations of this tab; a reload keeps them, closing the tab ends them. */
export class Conversations {
  constructor() {
    let kept = [];
    try {
      kept = JSON.parse(sessionStorage.getItem(CHATS) ?? "[]");
    } catch {
      sessionStorage.removeItem(CHATS);  // An older console has written it.
    }
    this.all = kept.map((each) => new Conversation(each));
    this.current = this.all[0] ?? this.begin();
  }

  begin() {
    const empty = this.all.find((each) => !each.nodes.size);
    if (empty) return this.open(empty);
    return this.open(new Conversation());
  }

  open(conversation) {
    if (!this.all.includes(conversation)) this.all.unshift(conversation);
    this.all.length = Math.min(this.all.length, MOST);
    this.current = conversation;
    return conversation;
  }

  remove(conversation) {
    this.all = this.all.filter((each) => each !== conversation);
    if (this.current === conversation) this.current = this.all[0] ?? this.begin();
  }

  /** Whether it could be kept for a reload of the page. */
  save() {
    try {
      sessionStorage.setItem(CHATS, JSON.stringify(this.all));
      return true;
    } catch {
      sessionStorage.removeItem(CHATS);  // More than a browser keeps for a tab.
      return false;
    }
  }
}
