// What not every chat has: the form, the list of conversations, the calls of tools, and the sound. A browser loads it when it first needs
// it.

import { signalMessage } from "./sound.js";
import { callsElement } from "./view_calls.js";
import { FormView } from "./view_form.js";
import { ListView } from "./view_list.js";

const EXTRA_CSS = "/*extras.css*/";

export { EXTRA_CSS, FormView, ListView, callsElement, signalMessage };
