//! Decodes text in the order of the HTML Standard: byte order mark, the charset that was declared with the file, the charset
//! that an HTML page declares itself, UTF-8.

use std::borrow::Cow;
use std::cell::Cell;

use encoding_rs::{DecoderResult, mem};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, StartTag, Tag, TagToken, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use super::ExtractError;
use crate::domain::knowledge::{Charset, Format, MAX_FILE, UnknownCharset};

/// A page declares its charset within so many bytes.
const PRESCAN: usize = 1024;

/// The text of a file, without its byte order mark. It is at most [`MAX_FILE`] bytes long.
///
/// # Errors
/// The file is not text of its charset, or names a charset that is unknown.
pub(super) fn decode(
    file: &[u8],
    format: Format,
    declared: Option<Charset>,
) -> Result<Cow<'_, str>, ExtractError> {
    let declared = match Charset::from_byte_order_mark(file).or(declared) {
        None if format == Format::Html => declared_in_page(file).transpose()?,
        declared => declared,
    };
    let charset = declared.unwrap_or(Charset::UTF_8);
    let not_text = || declared.map_or(ExtractError::CharsetNotDeclared, ExtractError::NotText);
    if charset == Charset::UTF_8 {
        let text = std::str::from_utf8(file).map_err(|_| not_text())?;
        return Ok(Cow::Borrowed(text.trim_start_matches('\u{feff}')));
    }
    let encoding = charset.encoding();
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let length = decoder.max_utf8_buffer_length_without_replacement(file.len()).unwrap_or(MAX_FILE);
    let mut text = String::with_capacity(length.min(MAX_FILE));
    match decoder.decode_to_string_without_replacement(file, &mut text, true).0 {
        DecoderResult::InputEmpty => {}
        DecoderResult::OutputFull => return Err(ExtractError::TooLargeDecoded),
        DecoderResult::Malformed(..) => return Err(not_text()),
    }
    // The standard maps bytes that an encoding does not define to control and private characters.
    if encoding.is_ascii_compatible() && text.contains(is_undefined) {
        return Err(not_text());
    }
    Ok(Cow::Owned(text.trim_start_matches('\u{feff}').to_owned()))
}

fn is_undefined(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{f780}'..='\u{f7ff}')
}

/// The charset of the first `<meta>` that has one, or else of the XML declaration. An unknown one counts where no other is known.
fn declared_in_page(file: &[u8]) -> Option<Result<Charset, UnknownCharset>> {
    let head = mem::decode_latin1(&file[..file.len().min(PRESCAN)]);
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(&head));
    let tokenizer = Tokenizer::new(MetaScanner::default(), TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    let declaration = head.strip_prefix("<?xml").and_then(|rest| rest.split_once('>'));
    let in_xml = declaration.and_then(|(declaration, _)| Charset::from_xml_declaration(declaration));
    let found = first_known(tokenizer.sink.found.take(), in_xml);
    found.map(|charset| charset.map(Charset::declared_in_page))
}

type Declared = Option<Result<Charset, UnknownCharset>>;

fn first_known(first: Declared, second: Declared) -> Declared {
    match (first, second) {
        (Some(Err(_)), Some(Ok(known))) => Some(Ok(known)),
        (first, second) => first.or(second),
    }
}

/// Finds the charsets of `<meta>` elements.
#[derive(Default)]
struct MetaScanner {
    found: Cell<Declared>,
}

impl TokenSink for MetaScanner {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        if let TagToken(tag) = token
            && tag.kind == StartTag
            && &*tag.name == "meta"
        {
            self.found.set(first_known(self.found.take(), charset_of_meta(&tag)));
        }
        TokenSinkResult::Continue
    }
}

fn charset_of_meta(meta: &Tag) -> Declared {
    let attribute =
        |name: &str| meta.attrs.iter().find(|attr| &*attr.name.local == name).map(|attr| &*attr.value);
    if let Some(label) = attribute("charset") {
        return Some(label.parse());
    }
    let is_content_type = attribute("http-equiv")?.eq_ignore_ascii_case("content-type");
    is_content_type.then(|| attribute("content").and_then(Charset::from_content_type)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &[u8], format: Format, declared: Option<&str>) -> Result<String, String> {
        let declared = declared.map(|label| label.parse().unwrap());
        let text = decode(file, format, declared).map(Cow::into_owned);
        text.map_err(|error| error.to_string().split(';').next().unwrap().to_owned())
    }

    #[test]
    fn text_is_decoded_by_its_byte_order_mark_or_declared_charset() {
        for (file, declared, expected) in [
            (b"caf\xc3\xa9".as_slice(), None, Ok("café")),
            (b"caf\xe9", None, Err("is not UTF-8 text")),
            (b"caf\xe9", Some("utf-8"), Err("is not UTF-8 text")),
            (b"caf\xe9 \x80", Some("iso-8859-1"), Ok("café €")),
            (b"caf\xe9 \x81", Some("iso-8859-1"), Err("is not windows-1252 text")),
            (b"\xa3\xf3d\xbc", Some("iso-8859-2"), Ok("Łódź")),
            (b"\x8c", Some("iso-8859-2"), Err("is not ISO-8859-2 text")),
            (b"\x8c", Some("windows-1250"), Ok("Ś")),
            (b"\x95\xd4\x95i", Some("shift_jis"), Ok("返品")),
            (b"\x95\xd4\x95", Some("shift_jis"), Err("is not Shift_JIS text")),
            (b"\x1b$BJVIJ\x1b(B", Some("iso-2022-jp"), Ok("返品")),
            (b"\xcd\xcb\xbb\xf5", Some("gbk"), Ok("退货")),
            (b"\xb0h\xb3f", Some("big5"), Ok("退貨")),
            (b"\xb9\xdd\xc7\xb0", Some("euc-kr"), Ok("반품")),
            (b"\xd7\xcf\xda\xd7\xd2\xc1\xd4", Some("koi8-r"), Ok("возврат")),
            (b"\xff", Some("x-user-defined"), Err("is not x-user-defined text")),
            (b"\xff\xfea\0\xe9\0", None, Ok("aé")),
            (b"\xfe\xff\0a\0\xe9", None, Ok("aé")),
            (b"\xfe\xff\0a\0\xe9", Some("utf-16"), Ok("aé")),
            (b"a\0\xe9\0", Some("utf-16"), Ok("aé")),
            (b"\xff\xfea\0\xe9", None, Err("is not UTF-16LE text")),
            (b"\xff\xfe\0\xd8a\0", None, Err("is not UTF-16LE text")),
            (b"\xef\xbb\xbfcaf\xc3\xa9", Some("windows-1252"), Ok("café")),
            (b"<meta charset=windows-1252>\xe9", None, Err("is not UTF-8 text")),
        ] {
            for format in [Format::Markdown, Format::Text] {
                let expected = expected.map(str::to_owned).map_err(str::to_owned);
                assert_eq!(read(file, format, declared), expected, "{} {declared:?}", file.escape_ascii());
            }
        }
    }

    #[test]
    fn a_page_may_declare_its_charset() {
        let late = format!("<!--{}--><meta charset=windows-1252>", " ".repeat(PRESCAN));
        let cut = format!("<!--{}--><meta charset=windows-1252>", " ".repeat(PRESCAN - 30));
        let windows = "<meta charset=windows-1252>";
        for (head, declared, expected) in [
            (windows, None, Ok("é")),
            ("<!DOCTYPE html><HTML><head><META CHARSET='Latin1' />", None, Ok("é")),
            ("<meta content='text/html; charset=iso-8859-1' http-equiv=Content-Type>", None, Ok("é")),
            ("<meta http-equiv=content-type content='text/html;charset=\"koi8-r\"'>", None, Ok("И")),
            ("<meta name=x content='text/html; charset=koi8-r'>", None, Err("is not UTF-8 text")),
            ("<meta http-equiv=content-type content='text/html; charset'>", None, Err("is not UTF-8 text")),
            ("<?xml version='1.0' encoding='iso-8859-1'?><html>", None, Ok("é")),
            ("<?xml version='1.0' encoding='utf-8'?><meta charset=koi8-r>", None, Ok("И")),
            ("<!-- <meta charset=koi8-r> --><meta charset=latin1>", None, Ok("é")),
            ("<p title='<meta charset=koi8-r>'><meta charset=latin1>", None, Ok("é")),
            ("<meta charset=koi8-r><meta charset=latin1>", None, Ok("И")),
            ("<meta charset=klingon><meta charset=latin1>", None, Ok("é")),
            ("<meta charset=Klingon>", None, Err("declares the unknown charset 'Klingon'")),
            ("<meta charset=utf-7>", None, Err("declares the unknown charset 'utf-7'")),
            ("<meta charset=utf-16>", None, Err("is not UTF-8 text")),
            ("<meta charset=x-user-defined>", None, Ok("é")),
            (&late, None, Err("is not UTF-8 text")),
            (&cut, None, Err("is not UTF-8 text")),
            (windows, Some("koi8-r"), Ok("И")),
            (windows, Some("utf-8"), Err("is not UTF-8 text")),
            ("<meta charset=klingon>", Some("latin1"), Ok("é")),
        ] {
            let page = [head.as_bytes(), b"\xe9"].concat();
            let expected = expected.map(|text| format!("{head}{text}")).map_err(str::to_owned);
            assert_eq!(read(&page, Format::Html, declared), expected, "{head} {declared:?}");
        }
        assert_eq!(
            read(b"\xef\xbb\xbf<meta charset=koi8-r>\xc3\xa9", Format::Html, None).unwrap(),
            "<meta charset=koi8-r>é"
        );
        assert_eq!(
            read(b"<meta charset=utf-16>\xc3\xa9", Format::Html, None).unwrap(),
            "<meta charset=utf-16>é"
        );
    }

    #[test]
    fn decoded_text_is_bounded() {
        let thai = vec![0xa1; MAX_FILE / 2];
        let error = read(&thai, Format::Html, Some("windows-874")).unwrap_err();
        assert_eq!(error, "is larger than 10 MiB as UTF-8");
        assert_eq!(
            read(&thai[..MAX_FILE / 4], Format::Html, Some("windows-874")).unwrap().len(),
            MAX_FILE / 4 * 3
        );
    }
}
