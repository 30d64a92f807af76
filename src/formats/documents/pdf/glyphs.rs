//! A glyph on a page.

use hayro_font::kurbo::{Affine, Point, Vec2};

use super::normalize::UNKNOWN;

#[derive(Clone, Debug)]
pub(super) struct Glyph {
    /// A space has `" "`; a glyph whose text was given with an earlier one has none.
    pub(super) text: String,
    /// The pen before and after the glyph, and after the character and word spacing that follow it.
    pub(super) start: Point,
    pub(super) end: Point,
    pub(super) pen: Point,
    /// Of length 1, in the direction of the text.
    pub(super) along: Vec2,
    /// Of length 1, towards the previous line.
    pub(super) up: Vec2,
    /// The size of the font.
    pub(super) size: f64,
}

impl Glyph {
    /// The pen as the origin of units of the font size: before the glyph, after it, and after the spacing. The text is written along
    /// x, or down if it is `vertical`.
    pub(super) fn new(text: String, pen: [Affine; 3], vertical: bool) -> Option<Self> {
        let [before, ..] = pen;
        let axes = before.as_coeffs();
        let (right, above) = (Vec2::new(axes[0], axes[1]), Vec2::new(axes[2], axes[3]));
        let (forward, back) = if vertical { (-above, right) } else { (right, above) };
        let size = back.hypot();
        let along = forward / forward.hypot();
        let normal = Vec2::new(-along.y, along.x);
        let up = if normal.dot(back) < 0.0 { -normal } else { normal };
        let [start, end, pen] = pen.map(|pen| pen.translation().to_point());
        let usable = start.is_finite()
            && end.is_finite()
            && pen.is_finite()
            && along.is_finite()
            && size.is_finite()
            && size > 0.0;
        usable.then_some(Self { text, start, end, pen, along, up, size })
    }

    pub(super) fn is_unmapped(&self) -> bool {
        self.text.contains(UNKNOWN)
    }
}
