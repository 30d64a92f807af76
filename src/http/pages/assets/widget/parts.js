// The parts of the widget that a browser loads when it first needs them.

/** A part: `load(suffix)` imports it; `module` is null until it has come. */
export function lazyPart(load) {
  const part = { module: null, get };
  let loading = null;
  let suffix = "";
  return part;

  /** Loads the module. Resolves to null if it does not load: the widget then goes without it, and the next call tries again. */
  function get() {
    return (loading ??= load(suffix).then(
      (module) => (part.module = module),
      (error) => {
        // A browser may remember that a module has failed, so another try has another address.
        suffix += "?";
        loading = null;
        console.warn("[rejoinder]", error);
        return null;
      },
    ));
  }
}
