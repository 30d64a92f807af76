//! Arranges the glyphs of a page as lines of words. All distances are judged along the text and across it, never along the axes of
//! the page, and relative to the size of the font.

use std::cmp::Ordering;

use super::columns;
use super::glyphs::Glyph;
use super::right_to_left::in_logical_order;

/// A gap between two glyphs from which they belong to two words.
const WORD_GAP: f64 = 0.17;
/// A gap between two words from which they belong to two cells of a row.
const CELL_GAP: f64 = 1.2;
/// How far glyphs of a line may lie apart across it: less than half a line, more than an exponent.
const LINE_TOLERANCE: f64 = 0.4;
/// How far the pen may move back within a word.
const KERNING: f64 = 0.6;
/// A distance between two lines, relative to the usual one, from which they belong to two paragraphs.
const PARAGRAPH_GAP: f64 = 1.4;
/// The same, relative to the size of the font, where there is no usual distance.
const LARGE_GAP: f64 = 2.5;
/// The width of a glyph whose font says that it has none, in an em.
const UNKNOWN_WIDTH: f64 = 0.5;

/// A piece of a line, in coordinates along the text and across it.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) start: f64,
    pub(super) end: f64,
    /// Where the next glyph of the same string starts, after the character spacing.
    pen: f64,
    /// Larger for earlier lines.
    pub(super) height: f64,
    pub(super) size: f64,
    /// Whether a space was shown after it.
    spaced: bool,
}

/// A line across the page: cells from its start to its end.
pub(super) type Row = Vec<Cell>;

/// The text of a page. Its directions of text follow each other, in the order of their first glyphs.
pub(super) fn text(glyphs: Vec<Glyph>) -> String {
    let mut directions: Vec<Vec<Glyph>> = Vec::new();
    for glyph in glyphs {
        let same = directions.iter_mut().find(|glyphs| is_same_direction(&glyphs[0], &glyph));
        match same {
            Some(glyphs) => glyphs.push(glyph),
            None => directions.push(vec![glyph]),
        }
    }
    let texts = directions.iter().map(|glyphs| {
        let mut text = String::new();
        for rows in columns::in_reading_order(rows(cells(glyphs))) {
            write_rows(&mut text, &rows);
        }
        text
    });
    texts.filter(|text| !text.trim().is_empty()).collect::<Vec<_>>().join("\n\n").trim().to_owned()
}

/// Scanned pages are not quite straight: a few degrees count as one direction.
fn is_same_direction(one: &Glyph, other: &Glyph) -> bool {
    one.along.dot(other.along) > 0.998 && one.up.dot(other.up) > 0.998
}

/// Glyphs that follow each other without a large gap, in the order in which they were shown.
fn cells(glyphs: &[Glyph]) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let Some((along, up)) = glyphs.first().map(|glyph| (glyph.along, glyph.up)) else { return cells };
    for glyph in glyphs {
        let [start, mut end, pen] = [glyph.start, glyph.end, glyph.pen].map(|at| at.to_vec2().dot(along));
        let height = glyph.start.to_vec2().dot(up);
        if end <= start && !glyph.text.is_empty() {
            end = start + glyph.size * UNKNOWN_WIDTH;
        }
        let last = cells.last_mut().filter(|last| {
            let (size, gap) = (last.size.min(glyph.size), last.gap(start));
            (last.height - height).abs() < LINE_TOLERANCE * last.size.max(glyph.size)
                && gap < CELL_GAP * size
                && gap > -KERNING * size
        });
        if glyph.text.trim().is_empty() {
            if let Some(last) = last {
                last.spaced |= !glyph.text.is_empty();
                // Not over a space, which need not be as wide as it seems.
                last.end = if glyph.text.is_empty() { last.end.max(end) } else { last.end };
                last.pen = pen;
            } else if let Some(last) = cells.last_mut() {
                last.spaced |= !glyph.text.is_empty();
            }
            continue;
        }
        match last {
            Some(last) => last.append(&glyph.text, [start, end, pen], glyph.size),
            None => cells.push(Cell {
                text: glyph.text.trim_start().to_owned(),
                start,
                end,
                pen,
                height,
                size: glyph.size,
                spaced: false,
            }),
        }
    }
    cells
}

impl Cell {
    /// The distance from the end of this cell. Letters that are only spaced out, by the character spacing, are close together.
    fn gap(&self, start: f64) -> f64 {
        let spacing = self.pen - self.end;
        let is_next = (start - self.pen).abs() < self.size / 50.0 && spacing < CELL_GAP * self.size;
        if is_next { 0.0 } else { start - self.end }
    }

    fn append(&mut self, text: &str, [start, end, pen]: [f64; 3], size: f64) {
        if self.spaced || self.gap(start) > WORD_GAP * self.size.max(size) {
            self.text.push(' ');
        }
        self.text.push_str(text);
        self.end = self.end.max(end);
        self.pen = pen;
        self.size = self.size.max(size);
        self.spaced = false;
    }

    /// Whether this repeats another cell at the same place, as some programs do for bold text.
    fn repeats(&self, other: &Self) -> bool {
        self.text == other.text && (self.start - other.start).abs() < LINE_TOLERANCE * self.size
    }
}

/// The rows of a page from its top, with pieces of a cell joined.
fn rows(mut cells: Vec<Cell>) -> Vec<Row> {
    cells.sort_by(|one, other| descending(one.height, other.height));
    let mut rows: Vec<Row> = Vec::new();
    for cell in cells {
        let row = rows.last_mut().filter(|row| {
            row.iter()
                .rev()
                .take(8)
                .any(|near| (near.height - cell.height).abs() < LINE_TOLERANCE * near.size.max(cell.size))
        });
        match row {
            Some(row) => row.push(cell),
            None => rows.push(vec![cell]),
        }
    }
    rows.into_iter().map(joined).collect()
}

fn joined(mut pieces: Row) -> Row {
    pieces.sort_by(|one, other| descending(other.start, one.start));
    let mut row: Row = Vec::new();
    let mut previous: Option<Cell> = None;
    for piece in pieces {
        if previous.as_ref().is_some_and(|previous| piece.repeats(previous)) {
            continue;
        }
        let last =
            row.last_mut().filter(|last| piece.start - last.end < CELL_GAP * last.size.min(piece.size));
        match last {
            Some(last) => {
                // Text over other text is not a part of its words.
                last.spaced |= piece.start - last.end < -KERNING * piece.size;
                last.append(&piece.text, [piece.start, piece.end, piece.pen], piece.size);
                last.spaced = piece.spaced;
            }
            None => row.push(piece.clone()),
        }
        previous = Some(piece);
    }
    row
}

fn descending(one: f64, other: f64) -> Ordering {
    other.total_cmp(&one)
}

/// Appends lines, with a blank line between paragraphs. A word that is divided at the end of a line is joined.
fn write_rows(text: &mut String, rows: &[Row]) {
    let heights: Vec<f64> = rows.iter().map(|row| row[0].height).collect();
    let mut distances: Vec<f64> = heights.windows(2).map(|pair| pair[0] - pair[1]).collect();
    distances.sort_by(f64::total_cmp);
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
    for (at, row) in rows.iter().enumerate() {
        let line = row.iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join("  ");
        let line = in_logical_order(line);
        let distance = if at == 0 { f64::INFINITY } else { heights[at - 1] - heights[at] };
        if distance > PARAGRAPH_GAP * usual || distance > LARGE_GAP * row[0].size {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
        } else if is_divided(text, &line) {
            text.pop();
        } else {
            text.push('\n');
        }
        text.push_str(&line);
    }
}

/// Whether the last word of `text` goes on in the next line.
fn is_divided(text: &str, next: &str) -> bool {
    let word = text.strip_suffix(['-', '\u{2010}', '\u{ad}']);
    word.is_some_and(|word| word.ends_with(char::is_alphabetic)) && next.starts_with(char::is_lowercase)
}
