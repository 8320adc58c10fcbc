//! Configuration files: whatever the text, there is a configuration or an error that shows a place in that text.

use plainwire::Config;
use plainwire_protocol::ChannelName;

/// Parses a text as a configuration.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "fuzz.toml") {
        Ok(config) => {
            for name in ["a", "chat/a", "chat/a/b"] {
                let name = ChannelName::parse(name).expect("a name");
                let _ = config.channel_for(&name);
            }
        }
        Err(error) => {
            assert!(!error.faults().is_empty(), "an error without a reason");
            let shown = error.to_string();
            for fault in error.faults() {
                assert!(!fault.message.is_empty(), "a fault without words");
                let Some(place) = &fault.place else { continue };
                let line = text.split('\n').nth(place.line - 1).expect("a line of the text");
                // What comes after the name of a secret is not shown.
                assert!(line.starts_with(place.text.trim_end_matches('\r')), "the line that is shown");
                assert!(
                    place.column >= 1 && place.column <= line.chars().count() + 1,
                    "a column of that line"
                );
                assert!(shown.contains(&format!("fuzz.toml:{}:{}", place.line, place.column)));
            }
        }
    }
}
