//! Cursors that clients send, judged against the channel that they are used on.

use plainwire_hub::Start;
use plainwire_protocol::{ChannelName, Cursor, Point, Position, Problem};

/// The points of a cursor for these channels, in this order.
pub(crate) fn parse_since(text: &str, channels: &[ChannelName]) -> Result<Vec<Point>, Problem> {
    let cursor = Cursor::parse(text).map_err(|error| Problem::new(400, "cursor", error))?;
    let points = cursor.points();
    if points.len() != channels.len() {
        let detail =
            format!("the cursor is for {} channel(s), the request for {}", points.len(), channels.len());
        return Err(Problem::new(400, "cursor", detail));
    }
    for (point, channel) in points.iter().zip(channels) {
        if let Point::After(position) = point
            && !position.epoch.belongs_to(channel)
        {
            return Err(Problem::new(
                400,
                "cursor_channel",
                format!("the cursor {position} is not one of '{channel}'"),
            ));
        }
    }
    Ok(points.to_vec())
}

/// The position in an `If-Match` or `If-None-Match` header (RFC 9110 §13.1): one entity tag, a cursor in quotes.
pub(crate) fn parse_if_match(text: &str, channel: &ChannelName) -> Result<Position, Problem> {
    let tag = text.trim();
    let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    match parse_since(bare, std::slice::from_ref(channel))?.first() {
        Some(Point::After(position)) => Ok(*position),
        _ => Err(Problem::new(400, "cursor", "If-Match takes one cursor in quotes")),
    }
}

/// Where a feed begins for a point.
pub(crate) fn start_of(point: Point) -> Start {
    match point {
        Point::After(position) => Start::After(position),
        Point::Oldest => Start::Oldest,
        Point::Now => Start::Now,
    }
}
