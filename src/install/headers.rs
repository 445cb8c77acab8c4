//! The header part of `WHEEL` and `METADATA` (core metadata: email header fields).

/// The header fields in their order; the body is left aside.
#[derive(Debug)]
pub(super) struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    /// Reads up to the first blank line. `Err` has the number of the line that is no field.
    pub(super) fn parse(text: &'a str) -> Result<Self, usize> {
        let mut fields = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() {
                break;
            }
            // A continuation belongs to fields (Description) that nobody asks for here.
            if line.starts_with([' ', '\t']) && !fields.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(':').ok_or(number + 1)?;
            fields.push((name.trim(), value.trim()));
        }
        Ok(Self(fields))
    }

    /// The value of a field that occurs at most once; names ignore case. `Err` if it occurs again.
    pub(super) fn one(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let mut values = self.0.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
        let first = values.next();
        if values.next().is_some() { Err(()) } else { Ok(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_fields_until_the_body() {
        let headers = Headers::parse("Name: a\r\nSummary: x\n  y: z\nNAME-2:b\n\nName: body\n").unwrap();
        assert_eq!(headers.one("name"), Ok(Some("a")));
        assert_eq!(headers.one("Name-2"), Ok(Some("b")));
        assert_eq!(headers.one("y"), Ok(None));
        assert_eq!(Headers::parse("Name: a\nname: b\n").unwrap().one("Name"), Err(()));
        assert_eq!(Headers::parse("Name: a\nnonsense\n").unwrap_err(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            if let Ok(headers) = Headers::parse(&text) {
                let _ = headers.one("Name");
            }
        }

        #[test]
        fn fields_round_trip(name in "[A-Z][A-Za-z-]{0,12}", value in "[!-~]([ -~]{0,30}[!-~])?") {
            let text = format!("{name}: {value}\n\nbody");
            prop_assert_eq!(Headers::parse(&text).unwrap().one(&name), Ok(Some(value.as_str())));
        }
    }
}
