// What not every chat shows: the form, the list of conversations, and the calls of tools. A browser loads it when it first needs it.

import { callsElement } from "./view_calls.js";
import { FormView } from "./view_form.js";
import { ListView } from "./view_list.js";

const EXTRA_CSS = "/*extras.css*/";

export { EXTRA_CSS, FormView, ListView, callsElement };
