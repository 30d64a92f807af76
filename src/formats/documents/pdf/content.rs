//! Runs the operators of content streams that place text (ISO 32000-1, 8.4, 8.10 and 9.4).

use std::rc::Rc;

use hayro_font::hayro_syntax::content::UntypedIter;
use hayro_font::hayro_syntax::object::dict::keys::{
    ACTUAL_TEXT, ANNOTS, AP, AS, BBOX, CONTENTS, F, FONT, MATRIX, N, RECT, RESOURCES, SUBTYPE,
};
use hayro_font::hayro_syntax::object::{self, Array, Dict, Name, Object, Rect, Stream};
use hayro_font::hayro_syntax::page::{Page, Resources};
use hayro_font::kurbo::{self, Affine, Vec2};

use super::fonts::{Fonts, TextFont};
use super::glyphs::Glyph;
use super::normalize::normalize;
use super::{MAX_FORM_DEPTH, MAX_GLYPHS, PdfError};

/// Appended to a content stream. It is not seen if the stream has a syntax error, at which its reader stops.
const END: &[u8] = b"\nrejoinder-end ";
/// Flags of an annotation that is not shown: hidden, no view.
const HIDDEN: i32 = 2 | 32;
/// How many graphics states may be saved.
const MAX_STATES: usize = 4096;

/// The graphics state, as far as it concerns text.
#[derive(Clone)]
struct State<'a> {
    transform: Affine,
    font: Option<Rc<TextFont<'a>>>,
    size: f64,
    character_spacing: f64,
    word_spacing: f64,
    /// 1 for 100 %.
    scale: f64,
    leading: f64,
    rise: f64,
}

impl State<'_> {
    fn new(transform: Affine) -> Self {
        let (size, scale) = (1.0, 1.0);
        let (character_spacing, word_spacing, leading, rise) = (0.0, 0.0, 0.0, 0.0);
        Self { transform, font: None, size, character_spacing, word_spacing, scale, leading, rise }
    }
}

/// One content stream that is being run.
struct Run<'r, 'a> {
    resources: &'r Resources<'a>,
    state: State<'a>,
    saved: Vec<State<'a>>,
    text: Affine,
    line: Affine,
    /// For each open marked content: the text that replaces its glyphs, until it was given, then an empty one.
    marked: Vec<Option<String>>,
    depth: usize,
}

pub(super) struct Interpreter<'a> {
    fonts: Fonts<'a>,
    glyphs: Vec<Glyph>,
    /// Glyphs of all pages.
    count: usize,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(fonts: Fonts<'a>) -> Self {
        Self { fonts, glyphs: Vec::new(), count: 0 }
    }

    /// The glyphs of a page as a reader sees it, that is, rotated; y grows upwards.
    pub(super) fn page(&mut self, page: &Page<'a>) -> Result<Vec<Glyph>, PdfError> {
        let transform = Affine::new(page.initial_transform(false).as_coeffs());
        let content = match page.raw().get::<Object<'_>>(CONTENTS) {
            Some(Object::Array(streams)) => {
                let mut content = Vec::new();
                for stream in streams.iter::<Object<'_>>() {
                    content.extend_from_slice(&decoded(&stream.into_stream().ok_or(PdfError::Damaged)?)?);
                    content.push(b'\n');
                }
                content
            }
            Some(object) => decoded(&object.into_stream().ok_or(PdfError::Damaged)?)?,
            None if page.raw().contains_key(CONTENTS) => return Err(PdfError::Damaged),
            None => Vec::new(),
        };
        self.run(content, page.resources(), State::new(transform), 0)?;
        if let Some(annotations) = page.raw().get::<Array<'_>>(ANNOTS) {
            for annotation in annotations.iter::<Dict<'_>>() {
                self.annotation(&annotation, page.resources(), transform)?;
            }
        }
        Ok(std::mem::take(&mut self.glyphs))
    }

    /// Runs the appearance of an annotation, for example of a form field that is filled in (12.5.5).
    fn annotation(
        &mut self,
        annotation: &Dict<'a>,
        resources: &Resources<'a>,
        transform: Affine,
    ) -> Result<(), PdfError> {
        let appearance =
            annotation.get::<Dict<'_>>(AP).and_then(|appearances| appearances.get::<Object<'_>>(N));
        let stream = match appearance {
            Some(Object::Dict(states)) => {
                annotation.get::<Name<'_>>(AS).and_then(|state| states.get::<Stream<'_>>(state))
            }
            appearance => appearance.and_then(Object::into_stream),
        };
        let (Some(form), Some(rect)) = (stream, annotation.get::<Rect>(RECT)) else { return Ok(()) };
        if annotation.get::<i32>(F).unwrap_or(0) & HIDDEN != 0 {
            return Ok(());
        }
        let bounds = form.dict().get::<Rect>(BBOX).unwrap_or(Rect::ZERO);
        let bounds = kurbo::Rect::new(bounds.x0, bounds.y0, bounds.x1, bounds.y1);
        let bounds = matrix(form.dict()).transform_rect_bbox(bounds);
        let scale = |target: f64, source: f64| if source > 0.0 { target / source } else { 1.0 };
        let (width, height) =
            (scale(rect.x1 - rect.x0, bounds.width()), scale(rect.y1 - rect.y0, bounds.height()));
        let to_rect = Affine::translate((rect.x0, rect.y0))
            * Affine::scale_non_uniform(width, height)
            * Affine::translate((-bounds.x0, -bounds.y0));
        self.form(&form, resources, State::new(transform * to_rect), 0)
    }

    fn form(
        &mut self,
        form: &Stream<'a>,
        resources: &Resources<'a>,
        mut state: State<'a>,
        depth: usize,
    ) -> Result<(), PdfError> {
        state.transform *= matrix(form.dict());
        let own = form.dict().get::<Dict<'_>>(RESOURCES).map(Resources::new);
        self.run(decoded(form)?, own.as_ref().unwrap_or(resources), state, depth + 1)
    }

    fn run(
        &mut self,
        mut content: Vec<u8>,
        resources: &Resources<'a>,
        state: State<'a>,
        depth: usize,
    ) -> Result<(), PdfError> {
        if depth > MAX_FORM_DEPTH {
            return Err(PdfError::TooDeep);
        }
        content.extend_from_slice(END);
        let (text, line) = (Affine::IDENTITY, Affine::IDENTITY);
        let mut run = Run { resources, state, saved: Vec::new(), text, line, marked: Vec::new(), depth };
        let mut instructions = UntypedIter::new(&content);
        while let Some(instruction) = instructions.next() {
            let operator: &[u8] = instruction.operator;
            if operator == END.trim_ascii() {
                return Ok(());
            }
            let operands: Vec<Object<'_>> = instruction.operands().cloned().collect();
            run.graphics(operator, &operands, &mut self.fonts);
            run.text_state(operator, &operands, &mut self.fonts);
            self.text(&mut run, operator, &operands)?;
        }
        Err(PdfError::Damaged)
    }

    /// The operators that show text.
    fn text(
        &mut self,
        run: &mut Run<'_, 'a>,
        operator: &[u8],
        operands: &[Object<'_>],
    ) -> Result<(), PdfError> {
        match (operator, operands) {
            (b"Tj", [.., Object::String(text)]) => self.show(run, text),
            (b"'", [.., Object::String(text)]) => {
                run.next_line(0.0, -run.state.leading);
                self.show(run, text)
            }
            (b"\"", [.., words, characters, Object::String(text)]) => {
                run.state.word_spacing = float(words).unwrap_or(run.state.word_spacing);
                run.state.character_spacing = float(characters).unwrap_or(run.state.character_spacing);
                run.next_line(0.0, -run.state.leading);
                self.show(run, text)
            }
            (b"TJ", [.., Object::Array(items)]) => {
                for item in items.iter::<Object<'_>>() {
                    if let Object::String(text) = &item {
                        self.show(run, text)?;
                    } else if let Some(adjustment) = float(&item) {
                        run.advance(-adjustment / 1000.0 * run.state.size);
                    }
                }
                Ok(())
            }
            (b"Do", [.., Object::Name(name)]) => {
                let form = run.resources.get_x_object(name).filter(|object| {
                    object.dict().get::<Name<'_>>(SUBTYPE).is_some_and(|subtype| subtype.as_ref() == b"Form")
                });
                form.map_or(Ok(()), |form| self.form(&form, run.resources, run.state.clone(), run.depth))
            }
            _ => Ok(()),
        }
    }

    fn show(&mut self, run: &mut Run<'_, 'a>, text: &[u8]) -> Result<(), PdfError> {
        let font = run.state.font.get_or_insert_with(|| self.fonts.fallback());
        let font = Rc::clone(font);
        let mut rest = text;
        while !rest.is_empty() {
            let (code, length) = font.code(rest);
            let length = length.clamp(1, rest.len());
            let is_space = length == 1 && rest[0] == b' ';
            rest = &rest[length..];
            let state = &run.state;
            let advance = font.advance(code) * state.size;
            let spacing = state.character_spacing + if is_space { state.word_spacing } else { 0.0 };
            let before = run.glyph_transform();
            run.advance(if font.is_vertical() { advance.y } else { advance.x });
            let after = run.glyph_transform();
            run.advance(spacing);
            self.count += 1;
            if self.count > MAX_GLYPHS {
                return Err(PdfError::TooManyGlyphs);
            }
            let text = match run.marked.iter_mut().flatten().next() {
                Some(replacement) => std::mem::take(replacement),
                None => font.text(code),
            };
            self.glyphs.extend(Glyph::new(text, [before, after, run.glyph_transform()], font.is_vertical()));
        }
        Ok(())
    }
}

impl<'a> Run<'_, 'a> {
    /// The operators of the graphics state and of marked content.
    fn graphics(&mut self, operator: &[u8], operands: &[Object<'_>], fonts: &mut Fonts<'a>) {
        match operator {
            b"q" if self.saved.len() < MAX_STATES => self.saved.push(self.state.clone()),
            b"Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            b"cm" => self.state.transform *= affine(operands).unwrap_or(Affine::IDENTITY),
            b"gs" => {
                let name = operands.first().and_then(|name| name.clone().into_name());
                let entry =
                    name.and_then(|name| self.resources.get_ext_g_state(&name)?.get::<Array<'_>>(FONT));
                if let Some(entry) = entry {
                    let mut items = entry.iter::<Object<'_>>();
                    self.state.font = items.next().and_then(Object::into_dict).map(|dict| fonts.load(dict));
                    self.state.size = items.next().as_ref().and_then(float).unwrap_or(1.0);
                }
            }
            b"BMC" => self.marked.push(None),
            b"BDC" => {
                let properties = operands.last().cloned();
                let text = if let Some(Object::Name(name)) = &properties {
                    let properties = self.resources.properties.get::<Dict<'_>>(name);
                    properties.and_then(|dict| {
                        dict.get::<object::String<'_>>(ACTUAL_TEXT).map(|text| text_string(&text))
                    })
                } else {
                    let dict = properties.and_then(Object::into_dict);
                    dict.and_then(|dict| {
                        dict.get::<object::String<'_>>(ACTUAL_TEXT).map(|text| text_string(&text))
                    })
                };
                self.marked.push(text.map(|text| normalize(&text)));
            }
            b"EMC" => drop(self.marked.pop()),
            _ => {}
        }
    }

    /// The operators of the text state and of the position of text.
    fn text_state(&mut self, operator: &[u8], operands: &[Object<'_>], fonts: &mut Fonts<'a>) {
        let numbers: Vec<f64> = operands.iter().filter_map(float).collect();
        match (operator, numbers.as_slice()) {
            (b"BT", _) => (self.text, self.line) = (Affine::IDENTITY, Affine::IDENTITY),
            (b"Tf", [.., size]) => {
                let dict = operands.first().and_then(|name| name.clone().into_name());
                let dict = dict.and_then(|name| self.resources.get_font(&name));
                self.state.font = dict.map(|dict| fonts.load(dict));
                self.state.size = *size;
            }
            (b"Tc", [.., spacing]) => self.state.character_spacing = *spacing,
            (b"Tw", [.., spacing]) => self.state.word_spacing = *spacing,
            (b"Tz", [.., percent]) => self.state.scale = percent / 100.0,
            (b"TL", [.., leading]) => self.state.leading = *leading,
            (b"Ts", [.., rise]) => self.state.rise = *rise,
            (b"Td", [.., x, y]) => self.next_line(*x, *y),
            (b"TD", [.., x, y]) => {
                self.state.leading = -y;
                self.next_line(*x, *y);
            }
            (b"T*", _) => self.next_line(0.0, -self.state.leading),
            (b"Tm", _) => {
                if let Some(matrix) = affine(operands) {
                    (self.text, self.line) = (matrix, matrix);
                }
            }
            _ => {}
        }
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.line *= Affine::translate((x, y));
        self.text = self.line;
    }

    /// Moves the pen in the direction of the text.
    fn advance(&mut self, by: f64) {
        let is_vertical = self.state.font.as_ref().is_some_and(|font| font.is_vertical());
        let by = if is_vertical { Vec2::new(0.0, by) } else { Vec2::new(by * self.state.scale, 0.0) };
        self.text *= Affine::translate(by);
    }

    /// Maps units of the font size, from the pen, onto the page.
    fn glyph_transform(&self) -> Affine {
        let State { transform, size, scale, rise, .. } = self.state;
        transform * self.text * Affine::new([size * scale, 0.0, 0.0, size, 0.0, rise])
    }
}

fn decoded(stream: &Stream<'_>) -> Result<Vec<u8>, PdfError> {
    stream.decoded_data().map(std::borrow::Cow::into_owned).map_err(|_| PdfError::Damaged)
}

fn matrix(form: &Dict<'_>) -> Affine {
    form.get::<[f64; 6]>(MATRIX).map_or(Affine::IDENTITY, Affine::new)
}

fn affine(operands: &[Object<'_>]) -> Option<Affine> {
    let numbers: Vec<f64> = operands.iter().filter_map(float).collect();
    Some(Affine::new(*numbers.last_chunk::<6>()?))
}

fn float(object: &Object<'_>) -> Option<f64> {
    if let Object::Number(number) = object { Some(number.as_f64()) } else { None }
}

/// A text string (7.9.2.2): UTF-16 or UTF-8 with a byte order mark, otherwise `PDFDocEncoding`, which is close to Latin-1.
fn text_string(bytes: &[u8]) -> String {
    if let Some(bytes) = bytes.strip_prefix(b"\xfe\xff") {
        let units: Vec<u16> = bytes.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
        return String::from_utf16_lossy(&units);
    }
    match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}
