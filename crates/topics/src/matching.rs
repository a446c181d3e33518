//! One filter against one name, as plainly as it can be said.

/// Whether the Topic Filter `filter` matches the Topic Name `name`.
///
/// This is the oracle that the indexes are tested against: it follows section 4.7 word by word and
/// costs a pass over both texts. It takes the filter of a Shared Subscription without its
/// `$share/{group}/`. Text that is not a valid filter or name gives an answer without meaning.
///
/// ```
/// use dunlin_topics::matches;
///
/// assert!(matches("sport/+/player1", "sport/tennis/player1"));
/// assert!(matches("sport/#", "sport"));
/// assert!(!matches("#", "$SYS/uptime"));
/// ```
// Characters are compared one by one, as they came: no normalisation, no folding of case.
// [MQTT-4.7.3-4] [MQTT-4.7.3-4 @3.1.1]
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    // [MQTT-4.7.2-1] [MQTT-4.7.2-1 @3.1.1]
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut name_levels = name.split('/');
    for filter_level in filter.split('/') {
        // `#` also stands for no level at all, so `a/#` matches `a`. [MQTT-4.7.1-1]
        if filter_level == "#" {
            return true;
        }
        match name_levels.next() {
            // [MQTT-4.7.1-2]
            Some(name_level) if filter_level == "+" || filter_level == name_level => {}
            _ => return false,
        }
    }
    name_levels.next().is_none()
}
