//! Reading order: columns of prose are read one after the other, the rows of a table across.

use super::layout::{Cell, Row};

/// A column has at least this number of lines,
const MIN_LINES: usize = 4;
/// and its pieces at least this number of characters on average. The cells of most tables have fewer.
const MIN_CHARACTERS: usize = 18;
/// Pages with more rows are read across: the search compares each row with many others.
const MAX_ROWS: usize = 3000;
/// How deep columns may be divided again.
const MAX_DEPTH: usize = 8;

/// The groups of rows of a page, in the order in which they are read.
pub(super) fn in_reading_order(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut groups = Vec::new();
    if rows.len() > MAX_ROWS {
        groups.push(rows);
    } else {
        divide(rows, 0, &mut groups);
    }
    groups.retain(|rows| !rows.is_empty());
    groups
}

fn divide(mut rows: Vec<Row>, depth: usize, groups: &mut Vec<Vec<Row>>) {
    let found = if depth < MAX_DEPTH { find(&rows) } else { None };
    let Some((first, end, edge)) = found else {
        groups.push(rows);
        return;
    };
    let after = rows.split_off(end);
    let columns = rows.split_off(first);
    groups.push(rows);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for row in columns {
        let (before, behind): (Row, Row) = row.into_iter().partition(|cell| cell.end <= edge);
        left.extend((!before.is_empty()).then_some(before));
        right.extend((!behind.is_empty()).then_some(behind));
    }
    divide(left, depth + 1, groups);
    divide(right, depth + 1, groups);
    divide(after, depth + 1, groups);
}

/// Rows from the first index to before the second that have columns of prose on both sides of a position.
fn find(rows: &[Row]) -> Option<(usize, usize, f64)> {
    let mut tried: Vec<f64> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        for cell in row.iter().skip(1) {
            let edge = cell.start - cell.size / 10.0;
            if tried.iter().any(|tried| (tried - edge).abs() < cell.size / 10.0) {
                continue;
            }
            let crosses = |row: &Row| row.iter().any(|cell| cell.start < edge && cell.end > edge);
            let first = rows[..at].iter().rposition(crosses).map_or(0, |before| before + 1);
            let end = rows[at..].iter().position(crosses).map_or(rows.len(), |after| at + after);
            let run = &rows[first..end];
            if is_prose(run, |cell| cell.end <= edge) && is_prose(run, |cell| cell.start >= edge) {
                return Some((first, end, edge));
            }
            if end - first == rows.len() {
                tried.push(edge);
            }
        }
    }
    None
}

fn is_prose(rows: &[Row], side: impl Fn(&Cell) -> bool) -> bool {
    let lines = rows.iter().filter(|row| row.iter().any(&side)).count();
    let lengths = rows.iter().flatten().filter(|cell| side(cell)).map(|cell| cell.text.chars().count());
    let (cells, characters) = lengths.fold((0, 0), |(cells, sum), length| (cells + 1, sum + length));
    lines >= MIN_LINES && characters >= cells * MIN_CHARACTERS
}
