//! The accepted formats of documents.

/// Maximum size of a document's file, in bytes.
pub const MAX_FILE: usize = 10 * 1024 * 1024;

crate::domain::string_enum::string_enum! {
    /// The format of a document's source.
    Format {
        Markdown = "markdown",
        Text = "text",
        Html = "html",
        Pdf = "pdf",
    }
}

impl Format {
    /// By the extension of a file name.
    #[must_use]
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "txt" | "text" => Some(Self::Text),
            "html" | "htm" => Some(Self::Html),
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }

    /// By a media type without its parameters.
    #[must_use]
    pub fn from_media_type(essence: &str) -> Option<Self> {
        match essence {
            "text/markdown" => Some(Self::Markdown),
            "text/plain" => Some(Self::Text),
            "text/html" => Some(Self::Html),
            "application/pdf" => Some(Self::Pdf),
            _ => None,
        }
    }
}
