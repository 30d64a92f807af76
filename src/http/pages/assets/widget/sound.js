// The sound of a new message.

import { pause } from "./sse.js";

/** The time in which another tab shows that the visitor has read a message there. */
const READ_MS = 300;
/** The time in which one tab plays for all. */
const QUIET_MS = 2000;

/** Plays the sound of a message that the visitor does not look at, unless they read it in another tab: there, or in one tab for all of them.
 * `isShown`: the chat is open in this one. */
export function signalMessage({ chat, later }, isShown) {
  const { locks } = chat.environment;
  // The window is in the background.
  if (isShown && !document.hidden) return playSound();
  const play = async (lock) => {
    if (!lock) return;
    playSound();
    await pause(QUIET_MS, chat.scope);
  };
  later(() => {
    if (chat.state.unread === 0) return;
    if (locks) void locks.request("rejoinder:sound", { ifAvailable: true }, play);
    else playSound();
  }, READ_MS);
}

/** Plays two short tones. A browser may refuse before the visitor has used the page. */
function playSound() {
  const audio = new AudioContext();
  const gain = new GainNode(audio, { gain: 0 });
  gain.connect(audio.destination);
  const start = audio.currentTime;
  gain.gain.setValueAtTime(0, start);
  gain.gain.linearRampToValueAtTime(0.06, start + 0.02);
  gain.gain.exponentialRampToValueAtTime(0.0001, start + 0.35);
  [660, 880].forEach((frequency, index) => {
    const tone = new OscillatorNode(audio, { frequency });
    tone.connect(gain);
    tone.start(start + index * 0.09);
    tone.stop(start + 0.4);
    if (index === 1) tone.onended = () => void audio.close();
  });
  if (audio.state === "suspended") void audio.close();
}
