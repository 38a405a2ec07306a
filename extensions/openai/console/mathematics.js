// TeX to MathML, for what models write. What is not known here is shown as its source, which is readable too.

import { h, math } from "./dom.js";

const GREEK = "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ "
  + "lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ "
  + "Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω infty ∞ partial ∂ nabla ∇ hbar ℏ ell ℓ emptyset ∅ "
  + "varnothing ∅ Re ℜ Im ℑ aleph ℵ";
const OPERATORS = "times × cdot ⋅ div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bullet ∙ oplus ⊕ otimes ⊗ le ≤ leq ≤ ge ≥ geq ≥ ne ≠ "
  + "neq ≠ approx ≈ equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ "
  + "supseteq ⊇ cup ∪ cap ∩ setminus ∖ land ∧ wedge ∧ lor ∨ vee ∨ neg ¬ lnot ¬ forall ∀ exists ∃ to → rightarrow → "
  + "leftarrow ← leftrightarrow ↔ Rightarrow ⇒ implies ⟹ Leftarrow ⇐ Leftrightarrow ⇔ iff ⟺ mapsto ↦ uparrow ↑ downarrow ↓ "
  + "ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱ mid ∣ parallel ∥ perp ⊥ angle ∠ therefore ∴ because ∵ prime ′ colon : "
  + "langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lbrace { rbrace } lvert | rvert | vert | Vert ‖";
const LARGE = "sum ∑ prod ∏ coprod ∐ bigcup ⋃ bigcap ⋂ bigoplus ⨁ int ∫ iint ∬ iiint ∭ oint ∮";
const FUNCTIONS = new Set(("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf det dim "
  + "ker gcd deg arg Pr limsup liminf argmax argmin").split(" "));
const SPACES = { ",": "0.17em", ":": "0.22em", ";": "0.28em", "!": "-0.17em", " ": "0.33em", quad: "1em", qquad: "2em" };
const ACCENTS = { hat: "^", widehat: "^", bar: "¯", overline: "¯", vec: "→", dot: "˙", ddot: "¨", tilde: "~", widetilde: "~" };
const FONTS = { mathbb: "double-struck", mathcal: "script", mathfrak: "fraktur", mathbf: "bold", boldsymbol: "bold", mathrm: "", mathit: "", mathsf: "", mathtt: "", operatorname: "" };
const DOUBLE_STRUCK = { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" };
const FENCES = { matrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], vmatrix: ["|", "|"], Bmatrix: ["{", "}"], cases: ["{", ""], aligned: ["", ""], align: ["", ""], "align*": ["", ""], gathered: ["", ""], array: ["", ""], split: ["", ""] };

const pairs = (text) => Object.fromEntries(text.split(" ").reduce((all, each, at, list) => (at % 2 ? [...all, [list[at - 1], each]] : all), []));
const SYMBOLS = pairs(GREEK), SIGNS = pairs(OPERATORS), SUMS = pairs(LARGE);
const DEEPEST = 40;

class Unknown extends Error {}

/** A node for a formula of TeX. */
export function formula(source, block) {
  try {
    const reader = new Reader(source);
    const made = reader.until(() => reader.next === undefined);
    return math("math", { display: block ? "block" : "inline", "aria-label": source.trim() }, math("mrow", {}, made));
  } catch (error) {
    if (!(error instanceof Unknown)) throw error;
    return h("code", { class: "math-source" }, source.trim());
  }
}

class Reader {
  constructor(source) {
    this.tokens = source.trim().match(/\\[a-zA-Z]+\*?|\\[^a-zA-Z]|[0-9]+(?:\.[0-9]+)?|\s+|./gsu) ?? [];
    this.at = 0;
    this.depth = 0;
  }

  get next() {
    while (this.tokens[this.at]?.trim() === "") this.at += 1;
    return this.tokens[this.at];
  }

  take() {
    if (this.next === undefined) throw new Unknown();
    return this.raw();
  }

  /** The next token, be it a space. */
  raw() {
    if (this.at >= this.tokens.length) throw new Unknown();
    this.at += 1;
    return this.tokens[this.at - 1];
  }

  until(ends) {
    const made = [];
    while (!ends()) {
      if (this.at >= this.tokens.length) throw new Unknown();
      made.push(this.scripted());
    }
    return made;
  }

  group() {
    if (this.next !== "{") return this.atom();
    this.take();
    const made = this.until(() => this.next === "}");
    this.take();
    return math("mrow", {}, made);
  }

  /** The letters of a group as they are. */
  letters() {
    if (this.take() !== "{") throw new Unknown();
    const found = [];
    while (this.next !== "}") found.push(this.take());
    this.take();
    return found.join("");
  }

  scripted() {
    const large = this.next?.startsWith("\\") && (this.next.slice(1) in SUMS || /^\\(lim|max|min|sup|inf|argmax|argmin)$/.test(this.next));
    const base = this.atom();
    let low = null, high = null;
    while (this.next === "_" || this.next === "^" || this.next === "'") {
      const mark = this.take();
      const script = mark === "'" ? math("mo", {}, "′") : this.group();
      if (mark === "_") low = script;
      else high = high ? math("mrow", {}, high, script) : script;
    }
    const [both, under, over] = large ? ["munderover", "munder", "mover"] : ["msubsup", "msub", "msup"];
    if (low && high) return math(both, {}, base, low, high);
    if (low) return math(under, {}, base, low);
    return high ? math(over, {}, base, high) : base;
  }

  atom() {
    this.depth += 1;
    if (this.depth > DEEPEST) throw new Unknown();
    const made = this.#atom();
    this.depth -= 1;
    return made;
  }

  #atom() {
    const token = this.next;
    if (token === "{") return this.group();
    this.take();
    if (/^[0-9]/.test(token)) return math("mn", {}, token);
    if (token.startsWith("\\")) return this.command(token.slice(1));
    if (/^\p{L}$/u.test(token)) return math("mi", {}, token);
    if ("}_^&".includes(token)) throw new Unknown();
    if (token === "~") return math("mspace", { width: "0.33em" });
    return math("mo", { stretchy: "false" }, token === "-" ? "−" : token === "*" ? "∗" : token);
  }

  command(name) {
    if (name in SYMBOLS) return math("mi", {}, SYMBOLS[name]);
    if (name in SIGNS) return math("mo", { stretchy: "false" }, SIGNS[name]);
    if (name in SUMS) return math("mo", { movablelimits: "false", largeop: "true" }, SUMS[name]);
    if (FUNCTIONS.has(name)) return math("mi", { mathvariant: "normal" }, name);
    if (name in SPACES) return math("mspace", { width: SPACES[name] });
    if ("{}$%&#_|".includes(name)) return math("mo", { stretchy: "false" }, name === "|" ? "‖" : name);
    if (/^[dt]?frac$|^cfrac$/.test(name)) return math("mfrac", {}, this.group(), this.group());
    if (/^[dt]?binom$/.test(name)) return this.binomial();
    if (name === "sqrt") return this.root();
    if (name === "left") return this.fenced();
    if (/^[bB]ig+[lrm]?$/.test(name)) return this.atom();
    if (/^(text|mbox|textbf|textit|textrm)$/.test(name)) return math("mtext", {}, this.words());
    if (name in FONTS) return this.font(name);
    if (name in ACCENTS) return math("mover", { accent: "true" }, this.group(), math("mo", { stretchy: /over|wide/.test(name) }, ACCENTS[name]));
    if (name === "underbrace" || name === "boxed") return this.group();
    if (name === "begin") return this.environment();
    if (/^(displaystyle|textstyle|limits|nolimits|nonumber|notag)$/.test(name)) return math("mrow", {});
    if (name === "not") return math("mrow", {}, this.atom(), math("mo", {}, "̸"));
    throw new Unknown();
  }

  binomial() {
    const [top, bottom] = [this.group(), this.group()];
    return math("mrow", {}, math("mo", {}, "("), math("mfrac", { linethickness: "0" }, top, bottom), math("mo", {}, ")"));
  }

  root() {
    if (this.next !== "[") return math("msqrt", {}, this.group());
    this.take();
    const degree = math("mrow", {}, this.until(() => this.next === "]"));
    this.take();
    return math("mroot", {}, this.group(), degree);
  }

  fence() {
    const token = this.take();
    if (token === ".") return null;
    const name = token.replace(/^\\/, "");
    return math("mo", { fence: "true", stretchy: "true" }, token.startsWith("\\") ? SIGNS[name] ?? (name === "|" ? "‖" : name) : token);
  }

  fenced() {
    const open = this.fence();
    const inner = this.until(() => this.next === "\\right");
    this.take();
    return math("mrow", {}, open, inner, this.fence());
  }

  words() {
    if (this.take() !== "{") throw new Unknown();
    let text = "", depth = 1;
    for (;;) {
      const token = this.raw();
      if (token === "{") depth += 1;
      if (token === "}") depth -= 1;
      if (!depth) return text.replace(/^\s|\s$/g, "\u00a0");
      if (token !== "{" && token !== "}") text += token.replace(/^\\(?=[^a-zA-Z])/, "");
    }
  }

  font(name) {
    const text = this.next === "{" ? this.letters() : this.take();
    if (text.includes("\\")) throw new Unknown();
    const shown = name === "mathbb" ? [...text].map((each) => DOUBLE_STRUCK[each] ?? each).join("") : text;
    return math("mi", { mathvariant: "normal", class: FONTS[name] || undefined }, shown);
  }

  environment() {
    const name = this.letters();
    if (!(name in FENCES)) throw new Unknown();
    if (name === "array" && this.next === "{") this.letters();
    const rows = [];
    do {
      if (this.next === "\\\\") this.take();
      const cells = [];
      do {
        if (this.next === "&") this.take();
        cells.push(math("mtd", {}, this.until(() => ["&", "\\\\", "\\end"].includes(this.next))));
      } while (this.next === "&");
      rows.push(math("mtr", {}, cells));
    } while (this.next === "\\\\");
    this.take();
    if (this.letters() !== name) throw new Unknown();
    const [open, close] = FENCES[name];
    const grid = math("mtable", { class: name.replace("*", "") }, rows);
    return math("mrow", {}, open && math("mo", {}, open), grid, close && math("mo", {}, close));
  }
}
