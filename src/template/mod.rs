//! Tera as the role language uses it: values keep their types, undefined is an error with a place, Jinja is explained.

mod bounded;
mod comparison;
mod filters;
mod jinja;
mod jinja_file;
mod lex;
mod prepare;
mod problem;
mod risk;
mod shell;
mod syntax;
mod uses;
mod values;

pub use bounded::{RENDER, Renderer, serve};
pub use comparison::{Comparison, Literal};
pub use jinja_file::{Difference, differences, is_jinja_file};
pub use problem::Problem;
pub use shell::program;
#[cfg(test)]
pub(crate) use shell::tests::hostile;
pub use uses::{Member, UsedPart};
pub(crate) use values::count;
#[cfg(test)]
pub(crate) use values::worked;
pub use values::{Shared, Values};

use std::{collections::BTreeSet, io, ops::Range, sync::LazyLock};

use serde_json::Value;
use tera::{Context, Tera};

use lex::{Tag, TagKind, WordKind};
use prepare::Prepared;
use problem::{problem, problems, settled};

/// The most text that one template makes, in bytes.
const MOST_OUTPUT: usize = 16 << 20;

/// A compiled text, expression or file.
#[derive(Debug)]
pub struct Template {
    tera: Tera,
    files: Vec<File>,
    shape: Shape,
    names: BTreeSet<String>,
    recipe: Recipe,
    /// The first place, by file and range, that makes it too costly for this process.
    risk: Option<(usize, Range<usize>)>,
    /// What it repeats, if it does nothing else that is risky.
    repeats: Option<risk::Repeats>,
    /// Whether it goes through its values a few times at most.
    is_plain: bool,
}

/// How a template was made of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Recipe {
    Text,
    Shell,
    Expression,
    File,
}

impl Recipe {
    /// Compiles texts again, each with its name; the first is the template itself.
    fn compile(self, files: &[(String, String)]) -> Result<Template, Problem> {
        let (name, text) = files.first().map(|(name, text)| (name.as_str(), text.as_str())).unwrap_or_default();
        let included = |wanted: &str| files.iter().find(|(name, _)| name == wanted).map(|(_, text)| text.clone());
        let compiled = match self {
            Self::Text => Template::text(text),
            Self::Shell => Template::shell(text),
            Self::Expression => Template::expression(text),
            Self::File => Template::file(name, text, &mut |wanted| included(wanted)).map_err(|(problems, _)| problems),
        };
        // It was compiled before, so nothing is wrong with it.
        compiled.map_err(|mut problems| problems.remove(0))
    }
}

/// What rendering yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Text.
    Text,
    /// The value of the one expression, with its type.
    Value,
    /// Shell text in which values are words.
    Shell,
}

#[derive(Debug)]
struct File {
    name: String,
    original: String,
    tags: Vec<Tag>,
    prepared: Prepared,
}

/// Building a Tera from scratch costs more than cloning one that has its filters.
static BASE: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    filters::register(&mut tera);
    tera
});

/// Whether a text contains anything to render.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Returns the text outside of the tags.
#[must_use]
pub fn literal(text: &str) -> String {
    let (mut literal, mut at) = (String::new(), 0);
    for tag in lex::tags(text) {
        literal.push_str(&text[at..tag.range.start]);
        at = tag.range.end;
    }
    literal.push_str(&text[at..]);
    literal
}

impl Template {
    /// Compiles the text of a parameter or variable. A lone `{{ … }}` keeps the type of its value.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn text(text: &str) -> Result<Self, Vec<Problem>> {
        let tags = lex::tags(text);
        let lone = matches!(tags.as_slice(), [tag] if tag.kind == TagKind::Value && tag.range == (0..text.len()));
        let (prepared, shape) =
            if lone { (prepare::lone(text, &tags[0]), Shape::Value) } else { (prepare::template(text, &tags), Shape::Text) };
        Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], shape, Recipe::Text)
    }

    /// Compiles shell text: each value is quoted, and refused where it could be code.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn shell(text: &str) -> Result<Self, Vec<Problem>> {
        let tags = lex::tags(text);
        let prepared = prepare::shell(text, &tags);
        let template = Self::compile(
            vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }],
            Shape::Shell,
            Recipe::Shell,
        )?;
        match shell::problems(&template.files[0]) {
            problems if problems.is_empty() => Ok(template),
            problems => Err(settled(problems, &template.files)),
        }
    }

    /// Compiles a bare expression, as in `when`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn expression(text: &str) -> Result<Self, Vec<Problem>> {
        if is_template(text) {
            let problem = Problem {
                file: 0,
                range: 0..text.len(),
                message: "this is an expression already".to_owned(),
                help: Some("leave out the `{{ }}`".to_owned()),
            };
            return Err(vec![problem]);
        }
        let prepared = prepare::expression(text);
        // Only the words inside the braces count; their ranges are shifted to the author's text.
        let open = prepared.text.find('(').map_or(0, |at| at + 1);
        let mut tags = lex::tags(&prepared.text);
        let is_one_tag = tags.len() == 1 && tags[0].range == (0..prepared.text.len());
        for tag in &mut tags {
            tag.words.retain(|word| word.range.start >= open && word.range.end <= open + text.len());
            for word in &mut tag.words {
                word.range = word.range.start - open..word.range.end - open;
            }
            tag.range = 0..text.len();
        }
        if !is_one_tag || text.trim().is_empty() {
            let message = "not an expression".to_owned();
            return Err(vec![Problem { file: 0, range: 0..text.len(), message, help: None }]);
        }
        Self::compile(
            vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }],
            Shape::Value,
            Recipe::Expression,
        )
    }

    /// Compiles a template file. `include` returns the text of another file by the name in `{% include %}`.
    ///
    /// # Errors
    /// Everything that is wrong with it and the files that it includes, and the names of the files, which [`Problem::file`] counts.
    pub fn file(
        name: &str,
        text: &str,
        include: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Self, (Vec<Problem>, Vec<String>)> {
        let mut files = Vec::new();
        let mut waiting = vec![(name.to_owned(), text.to_owned())];
        let mut problems = Vec::new();
        while let Some((name, original)) = waiting.pop() {
            let tags = lex::tags(&original);
            for (included, range) in included(&tags) {
                if files.iter().any(|file: &File| file.name == included)
                    || waiting.iter().any(|(name, _)| *name == included)
                    || name == included
                {
                    continue;
                }
                match include(&included) {
                    Some(text) => waiting.push((included, text)),
                    None => problems.push(Problem {
                        file: files.len(),
                        range,
                        message: format!("no template `{included}`"),
                        help: None,
                    }),
                }
            }
            let prepared = prepare::template(&original, &tags);
            files.push(File { name, original, tags, prepared });
        }
        let names = files.iter().map(|file| file.name.clone()).collect();
        if !problems.is_empty() {
            return Err((settled(problems, &files), names));
        }
        Self::compile(files, Shape::Text, Recipe::File).map_err(|problems| (problems, names))
    }

    fn compile(files: Vec<File>, shape: Shape, recipe: Recipe) -> Result<Self, Vec<Problem>> {
        let mut tera = BASE.clone();
        if let Err(error) = tera.add_raw_templates(files.iter().map(|file| (file.name.as_str(), file.prepared.text.as_str()))) {
            return Err(settled(problems(&error, &files), &files));
        }
        let ignored = problem::ignored_arguments(&files);
        if !ignored.is_empty() {
            return Err(settled(ignored, &files));
        }
        let names = tera.get_template_variables(&files[0].name).map(|names| names.into_iter().map(str::to_owned).collect());
        let (risk, repeats, is_plain) = (risk::place(&files), risk::Repeats::of(&files), risk::is_plain(&files));
        Ok(Self { names: names.unwrap_or_default(), tera, files, shape, recipe, risk, repeats, is_plain })
    }

    /// The names of the files that it is made of, itself first.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// The variables that it uses.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether it uses a variable.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The place of all of its own text.
    #[must_use]
    pub fn whole_range(&self) -> Range<usize> {
        0..self.files[0].original.len()
    }

    /// Renders it. Time and memory have no limit: [`Renderer`] sets them.
    fn render(&self, context: &Context) -> Result<Value, Problem> {
        filters::take_captured();
        filters::take_words();
        filters::take_undefined();
        let mut text = Limited::default();
        let rendered = self.tera.render_to(&self.files[0].name, context, &mut text);
        if text.is_full {
            return Err(self.too_long());
        }
        // Tera writes whole characters.
        let text = String::from_utf8_lossy(&text.bytes).into_owned();
        match rendered {
            Ok(()) if self.shape == Shape::Value => match filters::take_captured() {
                Some(value) if !value.is_undefined() => self.measured(&value),
                Some(_) | None => Err(self.undefined(context)),
            },
            Ok(()) if self.shape == Shape::Shell => {
                shell::with_words(&text, &filters::take_words(), &self.files[0]).map(Value::String)
            }
            Ok(()) => Ok(Value::String(text)),
            Err(error) => {
                let problem = problem(&error, &self.files);
                Err(if filters::take_undefined() { self.undefined(context) } else { problem })
            }
        }
    }

    /// Returns a value as JSON, if that is not too long.
    fn measured(&self, value: &tera::Value) -> Result<Value, Problem> {
        let mut length = Length { left: MOST_OUTPUT };
        if serde_json::to_writer(&mut length, value).is_err_and(|error| error.is_io()) {
            return Err(self.too_long());
        }
        serde_json::to_value(value).map_err(|error| self.whole(error.to_string()))
    }

    fn too_long(&self) -> Problem {
        let help = Some("loop over less, or give what is long in a file that is copied".to_owned());
        self.at_risk(format!("the template makes more than {} MiB of text", MOST_OUTPUT >> 20), help)
    }

    /// Returns a problem with the place that may make much of little, or with the whole.
    fn at_risk(&self, message: String, help: Option<String>) -> Problem {
        let (file, range) = self.risk.clone().unwrap_or_else(|| (0, 0..self.files[0].original.len()));
        Problem { file, range, message, help }
    }

    /// Finds the undefined value by rendering without the filter around each value: that filter hides Tera's own message.
    fn undefined(&self, context: &Context) -> Problem {
        let mut tera = BASE.clone();
        let bare: Vec<File> = self
            .files
            .iter()
            .map(|file| {
                let is_text =
                    file.tags.iter().any(|tag| file.original.get(tag.range.clone()).is_some_and(|tag| tag.starts_with('{')));
                let prepared = if is_text { prepare::bare(&file.original) } else { prepare::bare_expression(&file.original) };
                File { name: file.name.clone(), original: file.original.clone(), tags: file.tags.clone(), prepared }
            })
            .collect();
        let added = tera.add_raw_templates(bare.iter().map(|file| (file.name.as_str(), file.prepared.text.as_str())));
        match added.and_then(|()| tera.render(&bare[0].name, context)) {
            Err(error) => problem(&error, &bare),
            Ok(_) => self.whole("this value is undefined".to_owned()),
        }
    }

    fn whole(&self, message: String) -> Problem {
        Problem { file: 0, range: 0..self.files[0].original.len(), message, help: None }
    }
}

/// A text that does not grow beyond what a template may make.
#[derive(Default)]
struct Limited {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full |= self.bytes.len() + bytes.len() > MOST_OUTPUT;
        if self.is_full {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Measures what is written, and keeps nothing.
struct Length {
    left: usize,
}

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn included(tags: &[Tag]) -> Vec<(String, Range<usize>)> {
    let mut found = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == TagKind::Block) {
        if let [keyword, name, ..] = tag.words.as_slice()
            && (keyword.is("include") || keyword.is("extends"))
            && name.kind == WordKind::Text
        {
            found.push((name.text.trim_matches(['\'', '"', '`']).to_owned(), name.range.clone()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
