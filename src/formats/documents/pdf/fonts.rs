//! The fonts of a file: how strings are divided into codes, how wide these are, and which characters they show.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hayro_cmap::{BfString, CMap, CMapName, CidFamily, load_embedded};
use hayro_font::hayro_syntax::object::dict::keys::{
    CIDSYSTEMINFO, DESCENDANT_FONTS, ENCODING, ORDERING, REGISTRY, SUBTYPE, TYPE0,
};
use hayro_font::hayro_syntax::object::{self, Array, Dict, Name, Object, ObjectIdentifier};
use hayro_font::kurbo::Vec2;
use hayro_font::{
    CMapResolverFn, Font, FontCache, FontGlyph, FontQuery, FontResolverFn, GlyphId, StandardFont,
    UNITS_PER_EM,
};

use super::normalize::{UNKNOWN, normalize};

/// A font, and how its codes become characters.
pub(super) struct TextFont<'a> {
    /// None if the library cannot read it.
    font: Option<Font<'a>>,
    dict: Dict<'a>,
    /// Only for codes that neither a `ToUnicode` map nor a glyph name explains.
    collection: OnceCell<Option<Collection>>,
}

/// The characters of a predefined CJK character collection (ISO 32000-1, 9.10.2).
struct Collection {
    /// From codes to CIDs.
    encoding: CMap,
    /// From CIDs to characters.
    unicode: CMap,
}

impl TextFont<'_> {
    /// The code at the beginning of `bytes`, and its length.
    pub(super) fn code(&self, bytes: &[u8]) -> (u32, usize) {
        match &self.font {
            Some(font) => font.read_code(bytes, 0),
            None if self.is_composite() => (0, bytes.len().min(2)),
            None => (0, 1),
        }
    }

    /// The advance of a code, for a font size of 1.
    pub(super) fn advance(&self, code: u32) -> Vec2 {
        let advance = self.font.as_ref().map(|font| font.code_advance(code));
        advance.unwrap_or(Vec2::new(500.0, 0.0)) / f64::from(UNITS_PER_EM)
    }

    pub(super) fn is_vertical(&self) -> bool {
        self.font.as_ref().is_some_and(|font| !font.is_horizontal())
    }

    /// The characters of a code; [`UNKNOWN`] if the font does not tell.
    pub(super) fn text(&self, code: u32) -> String {
        let Some(font) = &self.font else { return UNKNOWN.into() };
        let named = match font.glyph(GlyphId::NOTDEF, code) {
            FontGlyph::Outline(glyph) => glyph.as_unicode(),
            FontGlyph::Type3(glyph) => glyph.as_unicode(),
        };
        let text = named.map(string).filter(|text| !text.is_empty() && text != "\0");
        let text = text.or_else(|| {
            let collection = self.collection.get_or_init(|| Collection::of(&self.dict));
            collection.as_ref().and_then(|collection| collection.text(code))
        });
        text.map_or_else(|| UNKNOWN.into(), |text| normalize(&text))
    }

    fn is_composite(&self) -> bool {
        self.dict.get::<Name<'_>>(SUBTYPE).is_some_and(|subtype| &*subtype == TYPE0)
    }
}

impl Collection {
    fn of(font: &Dict<'_>) -> Option<Self> {
        let encoding = font.get::<Object<'_>>(ENCODING)?;
        let encoding = if let Some(name) = encoding.clone().into_name() {
            let name = CMapName::from_bytes(&name);
            if name == CMapName::IdentityH {
                CMap::identity_h()
            } else if name == CMapName::IdentityV {
                CMap::identity_v()
            } else {
                CMap::parse(load_embedded(name)?, load_embedded)?
            }
        } else {
            CMap::parse(&encoding.into_stream()?.decoded_data().ok()?, load_embedded)?
        };
        let predefined = encoding.metadata().character_collection.clone().map(|collection| collection.family);
        let family = predefined.filter(|family| family.ucs2_cmap().is_some()).or_else(|| {
            let descendant = font.get::<Array<'_>>(DESCENDANT_FONTS)?.iter::<Dict<'_>>().next()?;
            let info = descendant.get::<Dict<'_>>(CIDSYSTEMINFO)?;
            let (registry, ordering) =
                (info.get::<object::String<'_>>(REGISTRY)?, info.get::<object::String<'_>>(ORDERING)?);
            Some(CidFamily::from_registry_ordering(&registry, &ordering))
        })?;
        let unicode = CMap::parse(load_embedded(family.ucs2_cmap()?)?, load_embedded)?;
        Some(Self { encoding, unicode })
    }

    fn text(&self, code: u32) -> Option<String> {
        let cid = (1..=4).find_map(|length| self.encoding.lookup_cid_code(code, length))?;
        self.unicode.lookup_bf_string(cid).map(string)
    }
}

fn string(text: BfString) -> String {
    match text {
        BfString::Char(character) => character.into(),
        BfString::String(text) => text,
    }
}

/// The fonts that were read so far.
pub(super) struct Fonts<'a> {
    cache: FontCache<'a>,
    programs: FontResolverFn,
    cmaps: CMapResolverFn,
    known: HashMap<ObjectIdentifier, Rc<TextFont<'a>>>,
}

impl<'a> Fonts<'a> {
    pub(super) fn new() -> Self {
        let programs: FontResolverFn = Arc::new(|query| {
            let font = match query {
                FontQuery::Standard(font) => *font,
                FontQuery::Fallback(query) => query.pick_standard_font(),
            };
            Some(font.get_font_data())
        });
        Self { cache: FontCache::new(), programs, cmaps: Arc::new(load_embedded), known: HashMap::new() }
    }

    pub(super) fn load(&mut self, dict: Dict<'a>) -> Rc<TextFont<'a>> {
        let id = dict.obj_id();
        if let Some(known) = id.and_then(|id| self.known.get(&id)) {
            return Rc::clone(known);
        }
        let font = self.cache.font(&dict, &self.programs, &self.cmaps);
        let font = Rc::new(TextFont { font, dict, collection: OnceCell::new() });
        if let Some(id) = id {
            self.known.insert(id, Rc::clone(&font));
        }
        font
    }

    /// The font of text for which the file names none.
    pub(super) fn fallback(&self) -> Rc<TextFont<'a>> {
        let font = self.cache.standard_font(StandardFont::Helvetica, &self.programs);
        Rc::new(TextFont { font, dict: Dict::empty(), collection: OnceCell::new() })
    }
}
