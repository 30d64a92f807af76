// The sound of a new message.

/** Plays two short tones. A browser may refuse before the visitor has used the page. */
export function playSound() {
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
