//! Tera as the role language uses it: values keep their types, undefined is an error with a place, Jinja is explained.

mod comparison;
mod filters;
mod jinja;
mod jinja_file;
mod lex;
mod prepare;
mod problem;
mod shell;
mod syntax;
mod uses;

pub use comparison::{Comparison, Literal};
pub use jinja_file::{Difference, differences, is_jinja_file};
pub use problem::Problem;
pub use shell::program;
#[cfg(test)]
pub(crate) use shell::tests::hostile;
pub use uses::{Member, UsedPart};

use std::{collections::BTreeSet, ops::Range, sync::LazyLock};

use serde_json::Value;
use tera::{Context, Tera};

use lex::{Tag, TagKind, WordKind};
use prepare::Prepared;
use problem::{problem, problems};

/// A compiled text, expression or file.
#[derive(Debug)]
pub struct Template {
    tera: Tera,
    files: Vec<File>,
    shape: Shape,
    names: BTreeSet<String>,
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
        Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], shape)
    }

    /// Compiles shell text: each value is quoted, and refused where it could be code.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn shell(text: &str) -> Result<Self, Vec<Problem>> {
        let tags = lex::tags(text);
        let prepared = prepare::shell(text, &tags);
        let template =
            Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], Shape::Shell)?;
        match shell::problems(&template.files[0]) {
            problems if problems.is_empty() => Ok(template),
            problems => Err(problems),
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
        Self::compile(vec![File { name: "text".to_owned(), original: text.to_owned(), tags, prepared }], Shape::Value)
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
            return Err((problems, names));
        }
        Self::compile(files, Shape::Text).map_err(|problems| (problems, names))
    }

    fn compile(files: Vec<File>, shape: Shape) -> Result<Self, Vec<Problem>> {
        let mut tera = BASE.clone();
        if let Err(error) = tera.add_raw_templates(files.iter().map(|file| (file.name.as_str(), file.prepared.text.as_str()))) {
            return Err(problems(&error, &files));
        }
        let ignored = problem::ignored_arguments(&files);
        if !ignored.is_empty() {
            return Err(ignored);
        }
        let names = tera.get_template_variables(&files[0].name).map(|names| names.into_iter().map(str::to_owned).collect());
        Ok(Self { names: names.unwrap_or_default(), tera, files, shape })
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

    /// Renders it.
    ///
    /// # Errors
    /// The first thing that goes wrong.
    pub fn render(&self, context: &Context) -> Result<Value, Problem> {
        filters::take_captured();
        filters::take_words();
        filters::take_undefined();
        match self.tera.render(&self.files[0].name, context) {
            Ok(_) if self.shape == Shape::Value => match filters::take_captured() {
                Some(value) if !value.is_undefined() => {
                    serde_json::to_value(&value).map_err(|error| self.whole(error.to_string()))
                }
                Some(_) | None => Err(self.undefined(context)),
            },
            Ok(text) if self.shape == Shape::Shell => {
                shell::with_words(&text, &filters::take_words(), &self.files[0]).map(Value::String)
            }
            Ok(text) => Ok(Value::String(text)),
            Err(error) => {
                let problem = problem(&error, &self.files);
                Err(if filters::take_undefined() { self.undefined(context) } else { problem })
            }
        }
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
