// The types of the widget: of the script `/widget.js`, which makes `Rejoinder`, and of the element `<rejoinder-chat>`.

export interface RejoinderOptions {
  /** The assistant's UUID, or its `ast_…` id. */
  assistant: string;
  /** The address of the server. Default: that of the script. */
  server?: string;
  /** `floating` (default of the script): a launcher in the corner; `inline` (default of the element): a part of the page; `page`: all of it. */
  mode?: "floating" | "inline" | "page";
  /** Where an inline chat is put: an element, or a CSS selector. Default: after the script if it is in the body, else at the body's end. */
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
  /** Hides the launcher, or a chat that has none. `Rejoinder.open()` still opens the chat. */
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

/** Texts of the chat, by name, with the English ones. `{…}` are placeholders. */
export interface RejoinderTexts {
  /** Chat */
  title?: string;
  /** Open chat */
  launcher?: string;
  /** Close chat */
  launcherClose?: string;
  /** Open chat, {count} new */
  launcherUnread?: string;
  /** The chat did not load. */
  launcherFailed?: string;
  /** Close */
  close?: string;
  /** Back */
  back?: string;
  /** New conversation */
  newConversation?: string;
  /** Conversation */
  conversation?: string;
  /** Conversations */
  conversations?: string;
  /** There are no earlier conversations. */
  noConversations?: string;
  /** Current */
  current?: string;
  /** Ended */
  ended?: string;
  /** Messages */
  log?: string;
  /** You */
  you?: string;
  /** Assistant */
  assistant?: string;
  /** Team member */
  agent?: string;
  /** Your message */
  message?: string;
  /** Write a message */
  placeholder?: string;
  /** Send */
  send?: string;
  /** Stop */
  stop?: string;
  /** {count} characters left */
  charactersLeft?: string;
  /** {count} characters too many */
  charactersOver?: string;
  /** Suggested messages */
  quickReplies?: string;
  /** Newest */
  newest?: string;
  /** Today */
  today?: string;
  /** Yesterday */
  yesterday?: string;
  /** Copy */
  copy?: string;
  /** Copied */
  copied?: string;
  /** Not copied */
  notCopied?: string;
  /** Code */
  code?: string;
  /** Table */
  table?: string;
  /** Helpful */
  helpful?: string;
  /** Not helpful */
  notHelpful?: string;
  /** Opening the conversation… */
  opening?: string;
  /** Sending… */
  sending?: string;
  /** Reconnecting… */
  reconnecting?: string;
  /** Still working on it. */
  slow?: string;
  /** Someone is typing… */
  typing?: string;
  /** The assistant is answering. */
  answering?: string;
  /** Stopped. */
  stopped?: string;
  /** Stopped before there was a reply. */
  stoppedEmpty?: string;
  /** A person will answer here. */
  humanAnswers?: string;
  /** This conversation has ended. */
  conversationEnded?: string;
  /** Before we begin */
  formIntro?: string;
  /** Start the chat */
  formSubmit?: string;
  /** Please fill in this field. */
  formRequired?: string;
  /** Please enter an e-mail address, such as name@example.com. */
  formEmail?: string;
  /** Please enter a telephone number. */
  formTel?: string;
  /** At most {count} characters. */
  formLong?: string;
  /** optional */
  optional?: string;
  /** Try again */
  tryAgain?: string;
  /** Try again in {seconds} s */
  tryAgainIn?: string;
  /** What happened in the conversation. */
  notes?: {
    /** The assistant is paused. A person will answer here. */
    ai_paused?: string;
    /** The assistant is answering again. */
    ai_resumed?: string;
    /** The earlier conversation is no longer there, so this is a new one. */
    new_conversation?: string;
    /** This conversation has ended. */
    ended?: string;
  };
  /** Tools by name or kind: while it runs, when it is done, and when it has failed; or one text for all. */
  tools?: {
    /** Looking for free times | Looked for free times */
    calendar_availability?: string | string[];
    /** Booking an appointment | Booked an appointment | The appointment could not be booked */
    calendar_booking?: string | string[];
    /** Cancelling an appointment | Cancelled an appointment | The appointment could not be cancelled */
    calendar_cancel?: string | string[];
    /** Searching the documents | Searched the documents */
    knowledge?: string | string[];
    /** Working on it | Looked something up | That did not work */
    other?: string | string[];
    [tool: string]: string | string[] | undefined;
  };
  /** running */
  toolRunning?: string;
  /** failed */
  toolFailed?: string;
  /** done */
  toolDone?: string;
  /** {count} found */
  toolFound?: string;
  /** none found */
  toolNothing?: string;
  /** Function */
  toolFunction?: string;
  /** Arguments */
  toolArguments?: string;
  /** Result */
  toolResult?: string;
  /** none */
  toolNone?: string;
  /** Copy as JSON */
  copyJson?: string;
  /** Title and detail, or the title. */
  failures?: {
    /** The chat is busy right now. | Please try again in a moment. */
    busy?: string | string[];
    /** You are offline. | Trying again will not send your message twice. */
    offline?: string | string[];
    /** There was no answer in time. | Trying again will not send your message twice. */
    timeout?: string | string[];
    /** That was a lot of messages. | Please wait a moment. */
    limit?: string | string[];
    /** This conversation is full. | Please start a new one. */
    full?: string | string[];
    /** This conversation has ended. | You can start a new one. */
    ended?: string | string[];
    /** The assistant is not available at the moment. | Please try again later. */
    no_credit?: string | string[];
    /** The chat is not available on this page. */
    refused_origin?: string | string[];
    /** That was not accepted. */
    invalid?: string | string[];
    /** There was no reply. | Please try again. */
    no_reply?: string | string[];
    /** The chat is not available. */
    absent?: string | string[];
    /** You are not signed in any more. | Please reload the page and sign in again. */
    identity?: string | string[];
    /** Something went wrong. | Please try again. */
    defect?: string | string[];
  };
}

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
  /** Shows the launcher, or a chat that has none. */
  show(): void;
  /** Closes the chat, and hides the launcher; a chat that has none is hidden itself. */
  hide(): void;
  /** Removes the chat from the page. What the browser has stored stays. */
  destroy(): void;
  /** Logs the visitor out of every chat of the site, in all tabs: forgets their token, and removes what the browser has stored. */
  reset(): void;
  /** Names the visitor by a token of your back end; null: nobody. Call it again before the token expires. A chat of an element has the
   * attribute `identity` for this. */
  identify(identity: { token: string } | null): void;
  /** Changes options, but for `assistant`, `server`, `mode` and `target`, which need `mount`, and `open`, which is a call. One that is
   * undefined gets its default. */
  set(options: { [Name in Exclude<keyof RejoinderOptions, "assistant" | "server" | "mode" | "target" | "open">]?: RejoinderOptions[Name] | undefined }): void;
  /** Opens the chat, and sends a message of the visitor. While a reply is written, it becomes their draft, or the end of it. */
  send(text: string): void;
  /** Calls `listener` with each event; the result ends that. */
  on<Name extends keyof RejoinderEvents>(event: Name, listener: (detail: RejoinderEvents[Name]) => void): () => void;
}

/** A call of a method of `Rejoinder`, such as `["open"]`. */
export type RejoinderCall = { [Name in keyof RejoinderApi]: [Name, ...Parameters<RejoinderApi[Name]>] }[keyof RejoinderApi];

/** The attributes of `<rejoinder-chat>`, in TSX and HTML. The chat follows changes of the first group. */
export interface RejoinderChatAttributes {
  assistant: string;
  /** The token of an identified visitor. */
  identity?: string;
  locale?: string;
  theme?: "auto" | "light" | "dark";
  accent?: string;
  /** Not `title`, which is the browser's. */
  "data-title"?: string;
  subtitle?: string;
  tools?: "label" | "hidden" | "details";
  /** JSON. */
  "quick-replies"?: string;

  server?: string;
  /** Default: `inline`. */
  mode?: "floating" | "inline" | "page";
  position?: "end" | "start";
  open?: boolean;
  hidden?: boolean;
  sound?: boolean;
  "z-index"?: number | string;
  /** JSON. */
  texts?: string;
  /** JSON. */
  variables?: string;
}

/** The events of `<rejoinder-chat>`: those of `Rejoinder`, as `rejoinder-ready`, `rejoinder-message` and so on. */
export type RejoinderChatEventMap = HTMLElementEventMap & {
  [Name in keyof RejoinderEvents as `rejoinder-${Name}`]: CustomEvent<RejoinderEvents[Name]>;
};

/** `<rejoinder-chat assistant="…">`: a chat in a place of the page. */
export interface RejoinderChatElement extends HTMLElement {
  addEventListener<Name extends keyof RejoinderChatEventMap>(
    type: Name,
    listener: (this: RejoinderChatElement, event: RejoinderChatEventMap[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<Name extends keyof RejoinderChatEventMap>(
    type: Name,
    listener: (this: RejoinderChatElement, event: RejoinderChatEventMap[Name]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

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

// @ts-ignore: React need not be installed.
declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      // @ts-ignore
      "rejoinder-chat": DetailedHTMLProps<HTMLAttributes<RejoinderChatElement>, RejoinderChatElement> & RejoinderChatAttributes;
    }
  }
}
