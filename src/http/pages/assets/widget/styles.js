// The style sheet of the widget. The slot is filled when the modules are joined.

export const CSS = "/*widget.css*/";
