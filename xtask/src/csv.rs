//! Comma separated values with quoted fields (RFC 4180 without line breaks inside a field).

/// The fields of one line.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // Two quotes inside a quoted field stand for one.
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        assert_eq!(fields(line), expected, "{line}");
    }

    #[test]
    fn quotes_protect_commas_and_double_to_stand_for_themselves() {
        check("", &[""]);
        check("a,b", &["a", "b"]);
        check("a,,", &["a", "", ""]);
        check(r#""a, b",c"#, &["a, b", "c"]);
        check(r#""a ""b"", c",d"#, &[r#"a "b", c"#, "d"]);
    }
}
