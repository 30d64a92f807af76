//! The text of PDF files: cases from public bug reports of PDF readers, and others of the same kinds.

use rejoinder::domain::knowledge::Format;
use rejoinder::formats::documents::{ExtractError, PdfError, to_markdown};
use std::fmt::Write as _;

use crate::support::pdf;

const HELVETICA: &str = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>";

fn read(file: &[u8]) -> Result<String, ExtractError> {
    to_markdown(file, Format::Pdf, None)
}

/// Reads a page with this content. `F1` is the first of `objects`, whose numbers begin at 5; `X1` is the second.
fn page(entries: &str, content: &str, objects: &[Vec<u8>]) -> Result<String, ExtractError> {
    let entries = format!("{}{entries}/Resources<</Font<</F1 5 0 R>>/XObject<</X1 6 0 R>>>>", pdf::PAGE);
    read(&pdf::file_of_page(&entries, pdf::stream("", content.as_bytes()), objects))
}

fn latin(content: &str) -> String {
    page("", content, &[HELVETICA.into()]).unwrap()
}

/// A font of several bytes a character, without an embedded program and without a `ToUnicode` map.
fn composite(encoding: &str, ordering: &str, widths: &str) -> Vec<Vec<u8>> {
    let font = format!("<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/{encoding}/DescendantFonts[7 0 R]>>");
    let descendant = format!(
        "<</Type/Font/Subtype/CIDFontType0/BaseFont/X{widths}\
         /CIDSystemInfo<</Registry(Adobe)/Ordering({ordering})/Supplement 2>>>>"
    );
    vec![font.into(), b"null".to_vec(), descendant.into()]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn utf16(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("{unit:04x}")).collect::<Vec<_>>().concat()
}

#[test]
fn predefined_cmaps_are_known() {
    for (encoding, ordering, code, text) in [
        ("UniGB-UCS2-H", "GB1", utf16("发票代码"), "发票代码"),
        ("UniGB-UTF16-H", "GB1", utf16("电子客票"), "电子客票"),
        ("GBK-EUC-H", "GB1", hex(b"\xb7\xa2\xc6\xb1 No. 7"), "发票 No. 7"),
        ("90ms-RKSJ-H", "Japan1", hex(b"\x90\xbf\x8b\x81\x8f\x91 ABC"), "請求書 ABC"),
        ("90msp-RKSJ-H", "Japan1", hex(b"\x90\xbf\x8b\x81\x8f\x91"), "請求書"),
        ("UniJIS-UTF16-H", "Japan1", utf16("領収書"), "領収書"),
        ("UniJIS-UCS2-V", "Japan1", utf16("領収書"), "領収書"),
        ("UniCNS-UTF16-H", "CNS1", utf16("統一發票"), "統一發票"),
        ("ETen-B5-H", "CNS1", hex(b"\xb5o\xb2\xbc"), "發票"),
        ("UniKS-UCS2-H", "Korea1", utf16("영수증"), "영수증"),
        ("KSCms-UHC-H", "Korea1", hex(b"\xbf\xb5\xbc\xf6\xc1\xf5"), "영수증"),
    ] {
        let content = format!("BT /F1 12 Tf 72 700 Td <{code}> Tj ET");
        assert_eq!(page("", &content, &composite(encoding, ordering, "")).as_deref(), Ok(text), "{encoding}");
    }
}

#[test]
fn all_operators_that_show_text_are_run() {
    let content = "BT /F1 12 Tf 14 TL 72 700 Td (Returns within 45 days.) Tj (Refunds take 5 days.) ' (Write to us.) ' ET";
    assert_eq!(latin(content), "Returns within 45 days.\nRefunds take 5 days.\nWrite to us.");
    let content = "BT /F1 12 Tf 14 TL 72 700 Td (One.) Tj 0 0 (Two.) \" [(Th) 20 (ree) -400 (is.)] TJ ET";
    assert_eq!(latin(content), "One.\nTwo.Three is.");
    let content = "BT /F1 12 Tf 72 700 TD (One.) Tj 0 -14 TD (Two.) Tj T* (Three.) Tj ET";
    assert_eq!(latin(content), "One.\nTwo.\nThree.");
    // An optical character reader writes invisible text over its picture.
    assert_eq!(latin("BT 3 Tr /F1 12 Tf 72 700 Td (Scanned.) Tj ET"), "Scanned.");
    let spaced = "BT /F1 12 Tf 80 Tz 2 Tc 4 Tw 72 700 Td (wide letters) Tj ET";
    assert_eq!(latin(spaced), "wide letters");
}

const TABLE: &str = "BT /F1 12 Tf 1 0 0 1 72 540 Tm (Small) Tj ET BT /F1 12 Tf 1 0 0 1 300 540 Tm (nine euro) Tj ET \
    BT /F1 12 Tf 1 0 0 1 72 520 Tm (Large) Tj ET BT /F1 12 Tf 1 0 0 1 300 520 Tm (ninety euro) Tj ET";

#[test]
fn rotated_text_is_judged_along_its_own_direction() {
    let sine = "0.70710678";
    for (name, entries, matrix) in [
        ("landscape", "/Rotate 90", "0 1 -1 0 600 0 cm"),
        ("landscape, not rotated", "", "0 1 -1 0 600 0 cm"),
        ("other landscape", "/Rotate 270", "0 -1 1 0 0 800 cm"),
        ("rotated only", "/Rotate 90", "1 0 0 1 0 0 cm"),
        ("upside down", "/Rotate 180", "-1 0 0 -1 600 800 cm"),
        ("45 degrees", "", &format!("{sine} {sine} -{sine} {sine} 0 0 cm")),
        ("mirrored", "", "-1 0 0 1 600 0 cm"),
        ("flipped, so that its first line is above", "", "1 0 0 -1 0 800 cm"),
        ("small units", "", "0.01 0 0 0.01 0 0 cm"),
    ] {
        let read = page(entries, &format!("{matrix} {TABLE}"), &[HELVETICA.into()]).unwrap();
        assert_eq!(read, "Small  nine euro\nLarge  ninety euro", "{name}");
    }
}

#[test]
fn a_negative_font_size_and_a_text_matrix_that_flips_cancel_out() {
    let content =
        "1 0 0 -1 0 800 cm BT /F1 12 Tf 1 0 0 -1 72 100 Tm (First) Tj 1 0 0 -1 72 120 Tm (Second) Tj ET";
    assert_eq!(latin(content), "First\nSecond");
}

#[test]
fn widths_are_given_as_arrays_and_ranges() {
    // Each glyph is placed by itself, 6 units after the previous one and 9 after a space.
    let glyphs = |text: &str| {
        let (mut content, mut x) = ("BT /F1 10 Tf ".to_owned(), 72);
        for letter in text.chars() {
            if letter == ' ' {
                x += 3;
            } else {
                write!(content, "1 0 0 1 {x} 700 Tm <{:04x}> Tj ", u32::from(letter)).unwrap();
                x += 6;
            }
        }
        content + "ET"
    };
    let text = "the grasshopper and the ant";
    let ranges = ('a'..='z').map(|letter| format!("{0} {0} 600 ", u32::from(letter)));
    let ranges = ranges.collect::<Vec<_>>().concat();
    for (name, widths) in [
        ("ranges of one", format!("/DW 0/W[{ranges}]")),
        ("a range", "/DW 0/W[97 122 600]".to_owned()),
        ("an array and a range", format!("/DW 0/W[97[{}]107 122 600]", "600 ".repeat(10))),
        ("a default", "/DW 600".to_owned()),
        ("none at all", "/DW 0".to_owned()),
    ] {
        let mut objects = composite("Identity-H", "Identity", &widths);
        let map = format!(
            "1 beginbfrange <0061> <007a> <0061> endbfrange /CMapName/X def {}",
            "1 begincodespacerange <0000> <ffff> endcodespacerange"
        );
        objects[0] = b"<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/DescendantFonts[7 0 R]/ToUnicode 8 0 R>>".to_vec();
        objects.push(pdf::stream("", map.as_bytes()));
        assert_eq!(page("", &glyphs(text), &objects).as_deref(), Ok(text), "{name}");
    }
    // The default is 1000.
    let content = "BT /F1 10 Tf 72 700 Td <0041> Tj 10 0 Td <0042> Tj 14 0 Td <0043> Tj ET";
    assert_eq!(page("", content, &composite("UniGB-UCS2-H", "GB1", "")).as_deref(), Ok("AB C"));
}

#[test]
fn ligatures_become_letters() {
    let font =
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding<</Differences[1/fi/f_l/uniFB00/f_f_i]>>>>";
    let content = "BT /F1 12 Tf 72 700 Td (\\001nd the \\002oor, o\\003er o\\004ce) Tj ET";
    assert_eq!(page("", content, &[font.into()]).as_deref(), Ok("find the floor, offer office"));
    let marked = "BT /F1 12 Tf 72 700 Td /Span <</ActualText<feff00660069>>> BDC (\\001) Tj EMC (nd) Tj ET";
    assert_eq!(page("", marked, &[HELVETICA.into()]).as_deref(), Ok("find"));
}

#[test]
fn forms_are_drawn_where_they_are_placed() {
    let form = pdf::stream(
        "/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Matrix[1 0 0 1 72 0]/Resources<</Font<</F1 5 0 R>>>>",
        b"BT /F1 12 Tf 0 700 Td (In the form.) Tj ET",
    );
    let content = "BT /F1 12 Tf 72 714 Td (Above.) Tj ET q /X1 Do Q BT 72 686 Td (Below.) Tj ET";
    let text = page("", &format!("/F1 12 Tf {content}"), &[HELVETICA.into(), form]).unwrap();
    assert_eq!(text, "Above.\nIn the form.\nBelow.");
}

#[test]
fn columns_are_read_one_after_the_other_and_words_are_joined() {
    let mut content = "BT /F1 10 Tf ".to_owned();
    let column = [
        "The first column of this page is",
        "read to its end, with its divi-",
        "ded words, before the second one",
        "of the page is begun by a reader.",
    ];
    for (at, line) in (0..).zip(column) {
        let y = 700 - 12 * at;
        write!(content, "1 0 0 1 72 {y} Tm ({line}) Tj 1 0 0 1 320 {y} Tm (Right: {line}) Tj ").unwrap();
    }
    let text = latin(&(content + "ET"));
    let (left, right) = text.split_once("Right: The").unwrap();
    assert!(
        left.ends_with(
            "with its divided words, before the second one\nof the page is begun by a reader.\n\n"
        ),
        "{text}"
    );
    assert!(right.ends_with("Right: of the page is begun by a reader."), "{text}");
}

#[test]
fn bold_text_that_is_drawn_twice_is_read_once() {
    let content = "BT /F1 12 Tf 72 700 Td (Total) Tj 0.3 0 Td (Total) Tj ET";
    assert_eq!(latin(content), "Total");
}

/// A file that is encrypted with RC4 and 40 bits: the owner's and the user's entry, and the content in hexadecimal digits.
fn encrypted(owner: &str, user: &str, content: &str) -> Vec<u8> {
    let content: Vec<u8> = content
        .as_bytes()
        .chunks(2)
        .map(|digits| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap())
        .collect();
    let entries = format!("{}/Resources<</Font<</F1 5 0 R>>>>", pdf::PAGE);
    let file = pdf::file_of_page(&entries, pdf::stream("", &content), &[HELVETICA.into()]);
    let encrypt = format!(
        "trailer<</Encrypt<</Filter/Standard/V 1/R 2/Length 40/P -4/O<{owner}>/U<{user}>>>\
         /ID[<30313233343536373839616263646566><30313233343536373839616263646566>]"
    );
    let at = file.windows(9).rposition(|bytes| bytes == b"trailer<<").unwrap();
    [&file[..at], encrypt.as_bytes(), &file[at + 9..]].concat()
}

#[test]
fn an_encrypted_file_is_read_unless_it_needs_a_password() {
    let open = encrypted(
        "c92422687facee686e373f10b5c7d04738053152f7e2ee30e11c69ec442576ab",
        "13f3633f3c8fe41869648cfa5552ce67d52a786c2ca737f8f9c0e496403cd4ae",
        "ed5ce72da5b1752317867285bb6a0067d9886340229f1c7e7411d28a7b688058c97544b6951542c8d235ea9bef2684deed729b048f63fecb9e",
    );
    assert_eq!(read(&open).as_deref(), Ok("Opened without a password."));
    let closed = encrypted(
        "92fe0f4454ad4c9644693f33c07cb54f587dce1e2682fe9ecea6107a1ef630dd",
        "902d6c0d6b77adef97ca1c71e49308c613b917b2ad6ef711a0cb410737994360",
        "2270ba61f2c1c1fa0171d267a27e675f7d402b2de5757a3a424e63700e5362803dae197e10bc54a27d4fb7753e4b6153da2ccc9f0ee90606e8",
    );
    assert_eq!(read(&closed), Err(PdfError::Password.into()));
    assert_eq!(
        ExtractError::from(PdfError::Password).to_string(),
        "is a PDF that cannot be read: it needs a password"
    );
}

#[test]
fn text_that_cannot_be_read_is_refused_with_its_reason() {
    let content = "BT /F1 12 Tf 72 700 Td <00410042> Tj ET";
    let unmapped = composite("Identity-H", "Identity", "");
    assert_eq!(page("", content, &unmapped), Err(PdfError::Unmapped.into()));
    let unknown = composite("NoSuchMap-H", "NoSuchMap", "");
    assert_eq!(page("", content, &unknown), Err(PdfError::Unmapped.into()));
    let names = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding<</Differences[65/g1/g2/g3]>>>>";
    assert_eq!(
        page("", "BT /F1 12 Tf 72 700 Td (ABC) Tj ET", &[names.into()]),
        Err(PdfError::Unmapped.into())
    );

    let image = pdf::stream(
        "/Type/XObject/Subtype/Image/Width 1/Height 1/BitsPerComponent 8/ColorSpace/DeviceGray",
        b"x",
    );
    assert_eq!(
        page("", "q 600 0 0 800 0 0 cm /X1 Do Q", &[HELVETICA.into(), image]),
        Err(ExtractError::NoTextInPdf)
    );

    assert_eq!(
        page("", "BT /F1 12 Tf (Before) Tj ] (After) Tj ET", &[HELVETICA.into()]),
        Err(PdfError::Damaged.into())
    );
    assert_eq!(read(b"%PDF-1.7"), Err(PdfError::Damaged.into()));
}

#[test]
fn a_few_symbols_without_a_character_do_not_matter() {
    let font = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding<</BaseEncoding/WinAnsiEncoding/Differences[1/g1]>>>>";
    let content = "BT /F1 12 Tf 72 700 Td (\\001 We ship within two days of your order.) Tj ET";
    assert_eq!(
        page("", content, &[font.into()]).as_deref(),
        Ok("\u{fffd} We ship within two days of your order.")
    );
}

#[test]
fn a_damaged_table_of_objects_is_rebuilt_and_a_part_of_a_file_is_refused() {
    let whole = pdf::file_of_text("Still readable.");
    let table = whole.windows(4).position(|bytes| bytes == b"xref").unwrap();
    let mut damaged = whole.clone();
    damaged.splice(table..table + 60, b"xref\n0 1\n".iter().copied());
    assert_eq!(read(&damaged).as_deref(), Ok("Still readable."));

    let two = [
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R 6 0 R]/Count 2>>".to_vec(),
        format!("<</Type/Page/Contents 4 0 R{}/Resources<</Font<</F1 5 0 R>>>>>>", pdf::PAGE).into_bytes(),
        pdf::stream("", b"BT /F1 12 Tf 72 700 Td (First page.) Tj ET"),
        HELVETICA.into(),
        format!("<</Type/Page/Contents 7 0 R{}/Resources<</Font<</F1 5 0 R>>>>>>", pdf::PAGE).into_bytes(),
        pdf::stream("", b"BT /F1 12 Tf 72 700 Td (Second page.) Tj ET"),
    ];
    let two = pdf::file_of_objects(&two);
    assert_eq!(read(&two).as_deref(), Ok("First page.\n\nSecond page."));
    for needle in ["6 0 obj", "7 0 obj", "Second"] {
        let cut = two.windows(needle.len()).position(|bytes| bytes == needle.as_bytes()).unwrap();
        assert_eq!(read(&two[..cut]), Err(PdfError::Damaged.into()), "cut before {needle}");
    }
}
