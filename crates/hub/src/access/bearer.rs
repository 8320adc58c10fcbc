//! Who bears a token, as grants and permissions see them.

use std::fmt;

use cel::common::value::Val;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{GrantError, Grants};
use crate::expression::value::object_to_cel;

/// The claim that holds a token's grants.
pub const GRANTS_CLAIM: &str = "plainwire";

/// The bearer of a token: its claims (RFC 7519 §4), made ready for expressions once, and its grants.
pub struct Bearer {
    claims: Box<dyn Val>,
    grants: Grants,
}

/// Why claims cannot be taken: a token that has them is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BearerError {
    /// An integer beyond 64 bits, or a deep nesting: what no expression could compare. To leave it out would be to change what an
    /// expression says of the others.
    #[error("the claims have {0}")]
    Claims(String),
    /// The claim `plainwire` is not as it should be.
    #[error(transparent)]
    Grants(#[from] GrantError),
}

impl Bearer {
    /// Takes the claims of a token that was found to be genuine.
    ///
    /// # Errors
    /// If a part of them cannot be understood.
    pub fn new(claims: &Map<String, Value>) -> Result<Bearer, BearerError> {
        let grants = claims.get(GRANTS_CLAIM).map(Grants::parse).transpose()?.unwrap_or_default();
        let claims = object_to_cel(claims).map_err(|error| BearerError::Claims(error.to_string()))?;
        Ok(Bearer { claims, grants })
    }

    /// What the token grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    pub(super) fn claims(&self) -> &dyn Val {
        self.claims.as_ref()
    }
}

/// Says nothing of the claims: they are about people.
impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearer").field("grants", &self.grants).finish_non_exhaustive()
    }
}
