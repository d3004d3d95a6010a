//! A drawing, read back.

use roxmltree::{Document, Node};

/// A drawing, read back.
#[derive(Debug)]
pub(crate) struct Drawing {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) texts: Vec<Text>,
    /// Everything that is written in it, tooltips too.
    pub(crate) all: String,
}

/// Words, and the room that they take.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) words: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

fn number(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

impl Drawing {
    pub(crate) fn of(svg: &str) -> Self {
        let document = Document::parse(svg).unwrap();
        let root = document.root_element();
        let style = root.children().find(|child| child.has_tag_name("style")).unwrap().text().unwrap();
        let texts = root.descendants().filter(|node| node.has_tag_name("text"));
        let pieces = root.descendants().filter(|node| node.is_text());
        Self {
            width: number(root, "width"),
            height: number(root, "height"),
            texts: texts.map(|node| Text::of(node, style)).collect(),
            all: pieces.map(|node| node.text().unwrap()).collect::<Vec<_>>().join("\n"),
        }
    }

    /// Whether these words stand somewhere, all of them.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.texts.iter().any(|text| text.words == words)
    }

    /// Whether these words stand somewhere, or are a tooltip.
    pub(crate) fn has(&self, words: &str) -> bool {
        let on_one_line: String = words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        self.all.contains(&on_one_line)
    }
}

impl Text {
    fn of(node: Node<'_, '_>, style: &str) -> Self {
        let words: String =
            node.children().filter(|child| child.is_text()).map(|child| child.text().unwrap()).collect();
        // The last of its classes that has a size gives it.
        let classes = node.attribute("class").unwrap().split(' ').rev();
        let size = classes.filter_map(|class| style.split(&format!(".{class}{{font-size:")).nth(1)).next().unwrap();
        let size: f64 = size.split("px").next().unwrap().parse().unwrap();
        let wide = f64::from(u32::try_from(words.chars().count()).unwrap()) * size * 0.55;
        let (x, y) = (number(node, "x"), number(node, "y"));
        let left = match node.attribute("text-anchor") {
            Some("middle") => x - wide / 2.0,
            Some("end") => x - wide,
            _ => x,
        };
        Self { words, left, right: left + wide, top: y - size * 0.75, bottom: y + size * 0.2 }
    }

    pub(crate) fn is_on(&self, other: &Self) -> bool {
        let beside = self.right <= other.left || other.right <= self.left;
        let above = self.bottom <= other.top || other.bottom <= self.top;
        !beside && !above
    }

    pub(crate) fn is_within(&self, width: f64, height: f64) -> bool {
        self.left >= 0.0 && self.top >= 0.0 && self.right <= width && self.bottom <= height
    }
}
