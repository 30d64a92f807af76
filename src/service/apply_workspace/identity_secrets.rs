//! The secrets with which sites sign the identity tokens of a file's assistants.

use secrecy::{ExposeSecret as _, SecretString};

use super::{Action, Applier, ApplyError, Values};
use crate::domain::audit::ObjectKind;
use crate::domain::identity::IdentitySecret;
use crate::domain::ids::{AssistantId, IdentitySecretId};
use crate::domain::seal::{SealKeys, SecretContext};
use crate::formats::workspace_file::FileAssistant;
use crate::store::{Conn, identity_secrets};

impl Applier<'_> {
    /// Makes the secrets of an assistant those of the file. A secret that stays keeps its row.
    pub(super) async fn put_identity_secrets(
        &mut self,
        mut conn: Conn<'_>,
        assistant: AssistantId,
        file: &FileAssistant,
        is_new: bool,
    ) -> Result<(), ApplyError> {
        let mut missing = self.identity_secrets_of(file);
        let mut has_changed = false;
        for stored in identity_secrets::list(conn.reborrow(), self.workspace, assistant).await? {
            let text = self.context.seal.and_then(|keys| open(keys, &stored));
            let position = missing.iter().position(|secret| {
                text.as_ref().is_some_and(|text| text.expose_secret() == secret.expose_secret())
            });
            if let Some(position) = position {
                missing.remove(position);
            } else {
                identity_secrets::delete(conn.reborrow(), self.workspace, stored.id).await?;
                has_changed = true;
            }
        }
        for secret in missing {
            let secret = self.new_identity_secret(assistant, &secret)?;
            identity_secrets::insert(conn.reborrow(), &secret).await?;
            has_changed = true;
        }
        if has_changed && !is_new {
            let action = Action::Changed(vec!["identity_secrets".to_owned()]);
            self.record_change(ObjectKind::Assistant, assistant, &file.version.slug, action, Values::NONE);
        }
        Ok(())
    }

    fn identity_secrets_of(&self, file: &FileAssistant) -> Vec<SecretString> {
        let names = file.identity_secrets.iter();
        let secrets = names.filter_map(|name| self.prepared.secrets.get(name));
        secrets.map(|secret| secret.expose_secret().trim().into()).collect()
    }

    fn new_identity_secret(
        &self,
        assistant: AssistantId,
        text: &SecretString,
    ) -> Result<IdentitySecret, ApplyError> {
        let id = IdentitySecretId(self.context.ids.uuid_v7(self.context.clock));
        let keys = self.context.seal.ok_or(ApplyError::NoSecretKey)?;
        let context = SecretContext::of_identity(self.workspace, id);
        let secret = keys.seal(&context, text, self.context.ids.bytes()).map_err(|_| ApplyError::Seal)?;
        Ok(IdentitySecret { workspace: self.workspace, id, assistant, secret, created_at: self.now })
    }
}

/// The text of a stored secret; none if no key opens it.
fn open(keys: &SealKeys, stored: &IdentitySecret) -> Option<SecretString> {
    keys.open(&SecretContext::of_identity(stored.workspace, stored.id), &stored.secret).ok()
}
