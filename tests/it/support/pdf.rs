//! Handmade PDF files.

/// A file with these objects, numbered from 1. The first is the catalogue.
pub fn file_of_objects(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut positions = Vec::new();
    for (number, object) in (1..).zip(objects) {
        positions.push(file.len());
        file.extend(format!("{number} 0 obj\n").bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for position in positions {
        file.extend(format!("{position:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    file.extend(format!("trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n").bytes());
    file
}

/// A stream with these entries in its dictionary.
pub fn stream(entries: &str, content: &[u8]) -> Vec<u8> {
    let mut object = format!("<<{entries}/Length {}>>stream\n", content.len()).into_bytes();
    object.extend(content);
    object.extend(b"\nendstream");
    object
}

/// A file with one page: the entries of the page, its content, and further objects from number 5.
pub fn file_of_page(page: &str, content: Vec<u8>, more: &[Vec<u8>]) -> Vec<u8> {
    let mut objects = vec![
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
        format!("<</Type/Page/Contents 4 0 R{page}>>").into_bytes(),
        content,
    ];
    objects.extend_from_slice(more);
    file_of_objects(&objects)
}

/// The entries of a valid page.
pub const PAGE: &str = "/Parent 2 0 R/MediaBox[0 0 612 792]";

/// A file with one page that contains this text.
pub fn file_of_text(text: &str) -> Vec<u8> {
    let page = format!("{PAGE}/Resources<</Font<</F1 5 0 R>>>>");
    let content = stream("", format!("BT /F1 24 Tf 72 700 Td ({text}) Tj ET").as_bytes());
    let font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_vec();
    file_of_page(&page, content, &[font])
}
