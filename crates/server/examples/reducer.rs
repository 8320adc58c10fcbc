//! Rules in Rust: a channel whose state a `Reducer` decides on, where a configuration's expressions are not enough.
//!
//! `cargo run -p plainwire --example reducer`

use std::sync::Arc;

use plainwire::config::Channel;
use plainwire::protocol::{Json, Pattern, Problem};
use plainwire::{Change, Config, Next, Plainwire, Reducer, State};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The board of a game for two, who take turns.
#[derive(Default, Deserialize, Serialize)]
struct Board {
    cells: [Option<char>; 9],
    moves: usize,
}

#[derive(Deserialize)]
struct Place {
    cell: usize,
}

/// Says what a move makes of a board. Pure: nothing but the board and the move decides.
struct NoughtsAndCrosses;

impl Reducer for NoughtsAndCrosses {
    fn initial(&self) -> Json {
        Json::of(&Board::default())
    }

    fn apply(&self, state: &State, change: &Change<'_>) -> Result<Next, Problem> {
        let Change::Command { name: "place", args } = change else {
            return Err(Problem::new(404, "no_such_command", "the only move is 'place'"));
        };
        let bad = |error: serde_json::Error| Problem::new(400, "arguments", error);
        let place: Place = serde_json::from_slice(args).map_err(bad)?;
        let mut board: Board = state.json().to().map_err(|error| Problem::new(500, "state", error))?;
        match board.cells.get_mut(place.cell) {
            Some(cell @ None) => *cell = Some(if board.moves.is_multiple_of(2) { 'x' } else { 'o' }),
            Some(Some(_)) => return Err(Problem::new(409, "taken", "somebody was there before")),
            None => return Err(Problem::new(400, "off_board", "the cells are 0 to 8")),
        }
        board.moves += 1;
        let state = State::parse(Json::of(&board)).map_err(|error| Problem::new(500, "state", error))?;
        Ok(Next { state, event: None, data: None })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::parse("[server]\nengine = \"memory\"\n", "reducer")?;
    config.add_channel(Channel::new(Pattern::parse("game/*")?).with_state(Arc::new(NoughtsAndCrosses)));
    let live = Plainwire::start(config).await?;
    for cell in [4, 0, 4, 9, 8] {
        match live.command("game/1", "place", &json!({ "cell": cell })).await {
            Ok(applied) => {
                println!("{cell}: {}", applied.state.map_or_else(String::new, |s| s.as_str().to_owned()))
            }
            Err(problem) => println!("{cell}: {} {}", problem.status, problem.reason),
        }
    }
    live.shutdown().await;
    Ok(())
}
