// An identity that functions on AWS log in as, each by a token of its own role: there is no secret.
param name string
param location string
param awsIssuer string
param awsRoles array

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: name
  location: location
}

// Azure writes the credentials of one identity one at a time.
@batchSize(1)
resource trusted 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = [for aws in awsRoles: {
  parent: identity
  name: 'aws-${uniqueString(aws)}'
  properties: {
    issuer: awsIssuer
    subject: aws
    audiences: ['api://AzureADTokenExchange']
  }
}]

output principalId string = identity.properties.principalId
output clientId string = identity.properties.clientId
