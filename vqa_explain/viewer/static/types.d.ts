// What the viewer's modules give each other. Read by `tsc --noEmit` only; nothing of it is shipped to a page.

/** A word, region or column with its value. */
export interface Player {
  value: number;
  error: number | null;
  /** The lowest and the highest value under each of several fills. */
  band?: number[] | null;
  text?: string;
  start?: number;
  end?: number;
  box?: number[];
}

export interface Packed {
  shape: number[];
  data: any;
}

/** What an explanation says of one input; those with `size` are pictures. */
export interface Part {
  name: string;
  kind: string;
  title: string;
  fixed: boolean;
  alone: boolean;
  player: string;
  players: Player[];
  bare: number;
  full: number;
  legend: string;
  size?: number[];
  pictureId?: string;
  labels?: Packed;
  heat?: Packed;
  truth?: Packed | null;
  bitmap?: ImageBitmap;
  mapBare?: number;
  mapFull?: number;
  mapLegend?: string;
}

export interface Answer {
  text: string;
  probability: number | null;
  value?: number;
  index: number;
}

/** What players of two inputs bring only together: (players of the first, players of the second). */
export interface Joint {
  first: string;
  second: string;
  values: Packed;
  errors: Packed | null;
}

/** Input name → numbers of its players. */
export type Members = Record<string, number[]>;

export interface Outcome {
  answer: string;
  probability: number | null;
}

/** The line in words, as the model was measured for it. */
export interface Line {
  members: Members;
  alone: Outcome | null;
  missing: Members | null;
  without: Outcome | null;
  blind: (Outcome & { name: string }) | null;
}

/** What one word of an answer has of its own. */
export interface Output {
  target: string;
  probability: number;
  explained: string;
  unitText: string;
  share: Record<string, number>;
  sources: Record<string, number>;
  withPictures: number | null;
  pictureShare: number | null;
  notFromPictures: boolean;
  /** What stands there in the sentence that it is compared with; null where none does. */
  contrast?: string | null;
  /** What each earlier word of the answer added, where that was asked for. */
  earlier?: number[];
  earlierErrors?: number[];
  errorText: string;
  error: number | null;
  parts: (Partial<Part> & { values: number[]; errors: number[] | null; bands?: (number[] | null)[] })[];
}

export interface Explanation {
  id?: string;
  heading: string;
  parts: Part[];
  joint: Joint[];
  pairsTitle: string;
  edits: string | null;
  answers: Answer[];
  target: string;
  contrast: string | null;
  targetIndex: number | null;
  contrastIndex: number | null;
  score: string;
  explained: string;
  unit: string;
  unitText: string;
  signed: boolean;
  fromZero: boolean;
  addsUp: boolean;
  shared: boolean;
  whyNoShares: string;
  share: Record<string, number>;
  oneScale: boolean;
  byPlayer: boolean;
  errorText: string;
  error: number | null;
  errorKind: string;
  notes: string[];
  facts: string[];
  method: string;
  model: string;
  parameters: Record<string, any>;
  origin: string;
  cost?: string;
  numbers?: Record<string, number>;
  label: string | null;
  pairs: { spent: number; sure: number; text: string } | null;
  line?: Line | null;
  /** The words of an answer of several. */
  outputs?: Output[];
  /** What blocks and heads do, once it is known. */
  inside?: Inside;
  insideError?: string;
}

export interface Told {
  text: string;
  probability: number | null;
  shown: string;
}

/** What the blocks and heads of a network do to an answer: see inside.py. */
export interface Inside {
  said: string[];
  answer: string;
  score: string;
  change: number;
  groups: string[];
  decided: number;
  settled: Record<string, number | null>;
  blocks: { path: string; values: number[]; early: Told; without: Record<string, Told>; row: Output | null }[];
  base: Explanation | null;
  heads: {
    lost: number[][];
    becomes: string[][];
    attention: { values: Packed; base: Explanation } | null;
  } | null;
}

export interface Entry {
  title: string;
  state: string;
  answer?: string;
  correct?: boolean | null;
  message?: string;
  probability?: number | null;
  id?: string;
  label?: string | null;
  /** Column of the table → its number. */
  numbers?: Record<string, number>;
  /** Of question, as the data set names it. */
  kind?: string;
  /** The answer without any picture, where it was measured. */
  without?: string | null;
}

/** Which examples are listed, and in which order; see state.py. */
export interface Filter {
  search?: string;
  outcome?: string;
  ranges?: Record<string, number[]>;
  equals?: Record<string, string>;
  sort?: string;
  descending?: boolean;
  only?: number[] | null;
}

export interface WhatIf {
  serial: string;
  answers: Answer[];
  change?: number | null;
  predicted?: number | null;
  predictedError?: number | null;
  fills?: string;
  /** Input → the fills that were used. */
  used?: Record<string, string[]>;
  otherFills?: boolean;
  line?: Line | null;
  error?: string;
}

/** A person's view of a picture: zoomed, and moved by shares of its box. */
export interface View {
  zoom: number;
  x: number;
  y: number;
}

/** How things are drawn. */
export interface Look {
  map: string;
  strength: number;
  threshold: number;
  smooth: boolean;
  truth: boolean;
  scale: "own" | "one";
  unit: "regions" | "pixels";
  pane: string;
  page: string;
  /** The frame of a video that is large. */
  frame: number;
  narrow: "map" | "picture";
  peek: boolean;
  dark: boolean;
  views: Map<string, View>;
}

export interface Place {
  part: string;
  index: number;
}

/** What is told of the pointer or the keys over an input's players. */
export type Act = (name: string, kind: "enter" | "leave" | "toggle" | "paint", index: number) => void;

/** Explanations, from a kernel that computes or a page that has them. */
export interface Source {
  live: boolean;
  on(name: string, call: () => void): () => void;
  entries(): Entry[];
  selected(): number;
  select(index: number): void;
  /** Of a page, which has all explanations. */
  payloadAt?(index: number): any;
  shown(): any;
  /** What stands beside it, each with the number of its "column". */
  compared(): any[];
  /** What columns were asked for. */
  columns(): any[];
  setColumns(columns: any[]): void;
  /** Of a page: groups [name, [column, text]...]. */
  columnChoices?(): any[];
  /** What is shared with the kernel or the link: see shared.js. */
  state(name: string): any;
  setState(name: string, value: any): void;
  /** A message that need not be heard soon. */
  murmur(message: any): void;
  progress(): { index?: number; done?: number; total?: number };
  options(): any;
  whatif(): WhatIf | null;
  /** What is asked for and not shown yet, of a kernel. */
  pending?(): any;
  /** The selected example before it is explained. */
  preview?(): any;
  problem(): string;
  /** Of a page: whether notes were written since it was saved, and what saves it with them. */
  unsaved?(): boolean;
  save?(): void;
  send(message: any): void;
}

/** Colors of a map, in one theme: [red, green, blue] from weak to strong. */
export interface Palette {
  zero: number[];
  plus: number[][];
  minus: number[][];
  size: number[][];
}
