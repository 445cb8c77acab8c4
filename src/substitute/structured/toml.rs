//! TOML 1.1, read by the `toml` crate, which knows where values stand.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Node, Value, Wrong};

pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    let table = DeTable::parse(text).map_err(|error| {
        (error.span().map_or(0, |span| span.start), format!("is not TOML: {}", error.message().trim_end()))
    })?;
    let range = table.span();
    Ok(Node { range, value: Value::Table(entries(table.get_ref(), text)) })
}

fn entries(table: &DeTable<'_>, text: &str) -> Vec<(String, Node)> {
    table.iter().map(|(name, value)| (name.get_ref().to_string(), node(value, text))).collect()
}

fn node(value: &Spanned<DeValue<'_>>, text: &str) -> Node {
    let range = value.span();
    let written = text.get(range.clone()).unwrap_or_default().to_owned();
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Integer(number) if number.radix() == 10 => Value::Number(plain(number.as_str())),
        DeValue::Float(number) => Value::Number(plain(number.as_str())),
        DeValue::Integer(_) | DeValue::Datetime(_) => Value::Other(written),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, text)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, text)),
    };
    Node { range, value }
}

fn plain(number: &str) -> String {
    number.strip_prefix('+').unwrap_or(number).replace('_', "")
}

/// The text in quotes: in plain ones where plain ones stood and can hold it.
pub(super) fn write(text: &str, old: &str) -> String {
    let plain = old.starts_with('\'') && !old.starts_with("'''");
    if plain && !text.contains(|c: char| c == '\'' || c.is_control()) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
