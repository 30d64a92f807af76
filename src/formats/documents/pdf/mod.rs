//! The text of a PDF. `hayro-syntax` reads the file, `hayro-font` its fonts; this module runs the text operators (ISO 32000-1, 9.4)
//! and arranges the glyphs as lines.

#![expect(clippy::float_arithmetic, reason = "positions on a page are floats; nothing is paid by them")]

mod columns;
mod content;
mod fonts;
mod glyphs;
mod layout;
mod normalize;
mod right_to_left;

use hayro_font::hayro_syntax::object::Dict;
use hayro_font::hayro_syntax::object::dict::keys::{COUNT, PAGES};
use hayro_font::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};

use content::Interpreter;
use fonts::Fonts;

/// How many glyphs a file may show.
const MAX_GLYPHS: usize = 2 * 1024 * 1024;
/// How deep forms may be nested.
const MAX_FORM_DEPTH: usize = 24;
/// The share of glyphs without a known character at which a file is refused: one in this number. Bullets and logos from symbol
/// fonts stay below it; a font of running text does not.
const UNMAPPED_BOUND: usize = 20;

/// Why a PDF cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdfError {
    #[error("it is damaged or incomplete")]
    Damaged,
    #[error("it needs a password")]
    Password,
    #[error("its encryption is not supported")]
    Encryption,
    #[error("its fonts do not tell which characters they show")]
    Unmapped,
    #[error("its forms are nested deeper than {MAX_FORM_DEPTH} levels")]
    TooDeep,
    #[error("it shows more than {MAX_GLYPHS} characters")]
    TooManyGlyphs,
}

/// The text of all pages, in reading order; pages are separated by a blank line.
pub(super) fn text(file: &[u8]) -> Result<String, PdfError> {
    let pdf = Pdf::new(file.to_vec()).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => PdfError::Password,
        LoadPdfError::Decryption(_) => PdfError::Encryption,
        LoadPdfError::Invalid => PdfError::Damaged,
    })?;
    let catalogue = pdf.xref().get::<Dict<'_>>(pdf.xref().root_id());
    let announced =
        catalogue.and_then(|catalogue| catalogue.get::<Dict<'_>>(PAGES)?.get::<i32>(COUNT)).unwrap_or(0);
    // Pages that are missing in a file that was cut off or rebuilt.
    if usize::try_from(announced).is_ok_and(|announced| pdf.pages().len() < announced) {
        return Err(PdfError::Damaged);
    }
    let mut interpreter = Interpreter::new(Fonts::new());
    let mut pages = Vec::new();
    let (mut shown, mut unmapped) = (0, 0);
    for page in pdf.pages().iter() {
        let glyphs = interpreter.page(page)?;
        shown += glyphs.len();
        unmapped += glyphs.iter().filter(|glyph| glyph.is_unmapped()).count();
        let text = layout::text(glyphs);
        if !text.is_empty() {
            pages.push(text);
        }
    }
    if unmapped > shown / UNMAPPED_BOUND {
        return Err(PdfError::Unmapped);
    }
    Ok(pages.join("\n\n"))
}
