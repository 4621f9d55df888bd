//! A mark on an item, that nobody decides by: written alone, and lost where another writer was first.

use super::{
    DynamoStore,
    items::{Key, PK, SK, s},
    told,
};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use portcullis_app::Error;

impl DynamoStore {
    /// Sets an attribute of an item, unless the item is gone or its attribute is no longer as it was seen: that is no failure.
    pub(crate) async fn mark(
        &self,
        key: &Key,
        name: &str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<(), Error> {
        let call = self.client.update_item().table_name(&self.table).key(PK, s(&key.pk)).key(SK, s(&key.sk));
        let call = call
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", s(value));
        let call = match seen {
            None => call.condition_expression("attribute_exists(pk) AND attribute_not_exists(#name)"),
            Some(seen) => call
                .condition_expression("attribute_exists(pk) AND #name = :seen")
                .expression_attribute_values(":seen", s(seen)),
        };
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(told("write to the table", error)),
        }
    }
}
