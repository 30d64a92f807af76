// The demo: the line that puts its chat on another page, and a hint where the server has no demo.
import { showSnippet } from "./snippet.js";

const ASSISTANT = document.querySelector("script[data-assistant]").dataset.assistant;

showSnippet(document.getElementById("snippet"), { assistant: ASSISTANT });

(window.RejoinderQueue ||= []).push([
  "on",
  "error",
  ({ code }) => {
    if (code !== "absent") return;
    document.querySelector("rejoinder-chat").hidden = true;
    document.getElementById("absent").hidden = false;
  },
]);
