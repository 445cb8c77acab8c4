//! What a marker says: comparisons joined by `and` and `or`.

use pep508_rs::{ExtraName, ExtraOperator, MarkerEnvironment, MarkerExpression, MarkerOperator, MarkerValueExtra};

#[derive(Clone, Debug)]
pub(super) enum Term {
    Comparison(MarkerExpression),
    All(Vec<Term>),
    Any(Vec<Term>),
}

impl Term {
    pub(super) fn holds(&self, environment: &MarkerEnvironment, extras: &[ExtraName]) -> bool {
        match self {
            Self::Comparison(comparison) => compare(comparison, environment, extras),
            Self::All(terms) => terms.iter().all(|term| term.holds(environment, extras)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(environment, extras)),
        }
    }
}

fn compare(comparison: &MarkerExpression, environment: &MarkerEnvironment, extras: &[ExtraName]) -> bool {
    match comparison {
        MarkerExpression::Version { key, specifier } => specifier.contains(environment.get_version(key)),
        MarkerExpression::VersionIn { key, versions, negated } => {
            versions.contains(environment.get_version(key)) != *negated
        }
        MarkerExpression::String { key, operator, value } => {
            compare_text(environment.get_string(key), *operator, value)
        }
        MarkerExpression::Extra { operator, name } => {
            let active = matches!(name, MarkerValueExtra::Extra(name) if extras.contains(name));
            active == (*operator == ExtraOperator::Equal)
        }
    }
}

fn compare_text(found: &str, operator: MarkerOperator, value: &str) -> bool {
    match operator {
        MarkerOperator::Equal => found == value,
        MarkerOperator::NotEqual => found != value,
        MarkerOperator::GreaterThan => found > value,
        MarkerOperator::GreaterEqual => found >= value,
        MarkerOperator::LessThan => found < value,
        MarkerOperator::LessEqual => found <= value,
        MarkerOperator::In => value.contains(found),
        MarkerOperator::NotIn => !value.contains(found),
        MarkerOperator::Contains => found.contains(value),
        MarkerOperator::NotContains => !found.contains(value),
        // Versions only; what means nothing is never in the way.
        MarkerOperator::TildeEqual => true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    And,
    Or,
    Comparison(&'a str),
}

impl<'a> Token<'a> {
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::And => "and",
            Self::Or => "or",
            Self::Comparison(text) => text,
        }
    }
}

/// Splits a marker at its parentheses, `and` and `or`, those inside quotes apart.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut start, mut word, mut quote) = (0, 0, None);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for (place, byte) in text.bytes().chain([b' ']).enumerate() {
        if let Some(open) = quote {
            quote = Some(open).filter(|open| *open != byte);
            word = place + 1;
            continue;
        }
        if is_word(byte) {
            continue;
        }
        let keyword = match &text[word..place] {
            "and" => Some(Token::And),
            "or" => Some(Token::Or),
            _ => None,
        };
        let bracket = match byte {
            b'(' => Some(Token::Open),
            b')' => Some(Token::Close),
            _ => None,
        };
        if keyword.is_some() || bracket.is_some() {
            let before = text[start..if keyword.is_some() { word } else { place }].trim();
            tokens.extend(Some(Token::Comparison(before)).filter(|_| !before.is_empty()));
            tokens.extend(keyword.into_iter().chain(bracket));
            start = place + usize::from(bracket.is_some());
        }
        quote = Some(byte).filter(|byte| matches!(byte, b'"' | b'\''));
        word = place + 1;
    }
    let rest = text[start.min(text.len())..].trim();
    tokens.extend(Some(Token::Comparison(rest)).filter(|_| !rest.is_empty()));
    tokens
}

pub(super) type Tokens<'a> = std::iter::Peekable<std::vec::IntoIter<Token<'a>>>;

/// Reads terms between `or`. Recursive: the caller bounds the depth of parentheses.
pub(super) fn any(tokens: &mut Tokens<'_>) -> Result<Option<Term>, String> {
    let mut terms = Vec::from_iter(all(tokens)?);
    while tokens.next_if_eq(&Token::Or).is_some() {
        terms.extend(all(tokens)?);
    }
    Ok(join(terms, Term::Any))
}

/// Reads terms between `and`.
fn all(tokens: &mut Tokens<'_>) -> Result<Option<Term>, String> {
    let mut terms = Vec::from_iter(one(tokens)?);
    while tokens.next_if_eq(&Token::And).is_some() {
        terms.extend(one(tokens)?);
    }
    Ok(join(terms, Term::All))
}

fn one(tokens: &mut Tokens<'_>) -> Result<Option<Term>, String> {
    match tokens.next() {
        Some(Token::Comparison(text)) => Ok(comparison(text)?.map(Term::Comparison)),
        Some(Token::Open) => {
            let term = any(tokens)?;
            tokens.next_if_eq(&Token::Close).ok_or("a parenthesis is not closed")?;
            Ok(term)
        }
        Some(token) => Err(format!("`{}` is not expected", token.text())),
        None => Err("it ends too early".into()),
    }
}

pub(super) fn comparison(text: &str) -> Result<Option<MarkerExpression>, String> {
    MarkerExpression::from_str(text).map_err(|error| error.message.to_string())
}

fn join(mut terms: Vec<Term>, join: fn(Vec<Term>) -> Term) -> Option<Term> {
    if terms.len() > 1 { Some(join(terms)) } else { terms.pop() }
}
