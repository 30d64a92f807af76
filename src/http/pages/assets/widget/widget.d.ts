// The types of the widget: of the script `/widget.js`, which makes `Rejoinder`, and of the element `<rejoinder-chat>`.

export interface RejoinderOptions {
  /** The assistant's UUID, or its `ast_…` id. */
  assistant: string;
  /** The address of the server. Default: that of the script. */
  server?: string;
  /** `floating` (default of the script): a launcher in the corner; `inline` (default of the element): a part of the page; `page`: all of it. */
  mode?: "floating" | "inline" | "page";
  /** Where an inline chat is put: an element, or a CSS selector. Default: after the script. */
  target?: Element | string;
  /** Such as `de` or `en-GB`. Default: the page's, then the browser's. */
  locale?: string;
  /** Texts to replace, by name. */
  texts?: RejoinderTexts;
  /** Default: `auto`, as the visitor's system has it. */
  theme?: "auto" | "light" | "dark";
  /** `#rrggbb`. Default: the assistant's. */
  accent?: string;
  /** The corner of the launcher, in the direction of the text. Default: `end`. */
  position?: "end" | "start";
  title?: string;
  subtitle?: string;
  /** Opens the chat at once. */
  open?: boolean;
  /** Hides the launcher. `Rejoinder.open()` still opens the chat. */
  hidden?: boolean;
  /** Plays a sound with each message while the chat is not seen. Default: false. */
  sound?: boolean;
  /** How tool calls are shown. Default: as the assistant has it. */
  tools?: "label" | "hidden" | "details";
  /** Messages to choose from at the beginning. Default: the assistant's. */
  quickReplies?: string[];
  /** Variables of a new conversation, which the assistant declares. */
  variables?: Record<string, string | number | boolean>;
  zIndex?: number;
}

/** A text, several of one place, or texts by name. `{…}` are placeholders. */
export type RejoinderTexts = { [name: string]: string | string[] | RejoinderTexts };

/** What the events carry. */
export interface RejoinderEvents {
  /** A conversation is shown. */
  ready: null;
  open: null;
  close: null;
  /** A finished message of the assistant, or of a person of the company (`agent`). */
  message: { id: string | null; sender: "assistant" | "agent"; text: string };
  /** The number of messages that the visitor has not seen has changed. */
  unread: { count: number };
  /** Something has failed, which the visitor sees, too. */
  error: { code: RejoinderFailureCode; detail: string };
}

export type RejoinderFailureCode =
  | "busy"
  | "offline"
  | "timeout"
  | "limit"
  | "full"
  | "ended"
  | "gone"
  | "no_credit"
  | "suspended"
  | "refused_origin"
  | "invalid"
  | "no_reply"
  | "absent"
  | "identity"
  | "defect";

export interface RejoinderApi {
  /** Starts the chat of the page, in the place of the one that is there. */
  mount(options: RejoinderOptions): void;
  open(): void;
  close(): void;
  toggle(): void;
  /** Shows the launcher. */
  show(): void;
  /** Closes the chat, and hides the launcher. */
  hide(): void;
  /** Removes the chat from the page. What the browser has stored stays. */
  destroy(): void;
  /** Logs the visitor out: forgets their token, and removes what the browser has stored. */
  reset(): void;
  /** Names the visitor by a token of your back end; null: nobody. Call it again before the token expires. */
  identify(identity: { token: string } | null): void;
  /** Changes options, but for `assistant`, `server`, `mode` and `target`, which need `mount`. */
  set(options: Partial<Omit<RejoinderOptions, "assistant" | "server" | "mode" | "target">>): void;
  /** Opens the chat, and sends a message of the visitor. While a reply is written, it becomes their draft. */
  send(text: string): void;
  /** Calls `listener` with each event; the result ends that. */
  on<Name extends keyof RejoinderEvents>(event: Name, listener: (detail: RejoinderEvents[Name]) => void): () => void;
}

/** A call of a method of `Rejoinder`, such as `["open"]`. */
export type RejoinderCall = { [Name in keyof RejoinderApi]: [Name, ...Parameters<RejoinderApi[Name]>] }[keyof RejoinderApi];

/** `<rejoinder-chat assistant="…">`. Its attributes are the options in kebab case (`data-title` for `title`); it dispatches the events as
 * `rejoinder-ready`, `rejoinder-message`, … with a `detail`. */
export interface RejoinderChatElement extends HTMLElement {}

declare global {
  interface Window {
    Rejoinder?: RejoinderApi;
    /** Takes calls before and after the script has loaded: `(window.RejoinderQueue ||= []).push(["open"])`. */
    RejoinderQueue?: { push(...calls: RejoinderCall[]): unknown };
  }
  interface HTMLElementTagNameMap {
    "rejoinder-chat": RejoinderChatElement;
  }
}
