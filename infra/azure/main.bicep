// Who Portcullis is in one subscription of Azure, and what it may do there. No secret is made or kept.
targetScope = 'subscription'

@description('The principal that guards machines, by its object id. Leave it out to have an identity made for functions on AWS.')
param principalId string = ''

@description('What kind of principal that is.')
@allowed(['ServicePrincipal', 'User', 'Group'])
param principalType string = 'ServicePrincipal'

@description('A principal that only looks and asks, by its object id.')
param requesterId string = ''

@description('The issuer of the AWS account whose functions are trusted, such as https://<id>.tokens.sts.global.api.aws (aws iam get-outbound-web-identity-federation-info).')
param awsIssuer string = ''

@description('The roles of the functions that guard, by their ARNs: GuardRoles of the stack. Each of them becomes one federated credential: at most 20.')
@maxLength(20)
param awsRoles array = []

@description('The roles of the functions that only look and ask, by their ARNs: ReaderRoles of the stack. They get an identity of their own.')
@maxLength(20)
param awsReaderRoles array = []

@description('The resource group in which the identity for them is made; it must be there.')
param resourceGroupName string = 'portcullis'

@description('The name of that identity; the one that only looks has `-reader` after it.')
param identityName string = 'portcullis'

@description('Where that identity is.')
param location string = deployment().location

var role = loadJsonContent('role.json')
var makesIdentity = !empty(awsRoles)
var makesReader = !empty(awsReaderRoles)
var looks = filter(role.actions, it => it.requestOnly)

resource guards 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, role.name)
  properties: {
    roleName: role.name
    description: role.description
    type: 'CustomRole'
    permissions: [{ actions: map(role.actions, it => it.action), notActions: [] }]
    assignableScopes: [subscription().id]
  }
}

resource asks 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, role.requestOnly.name)
  properties: {
    roleName: role.requestOnly.name
    description: role.requestOnly.description
    type: 'CustomRole'
    permissions: [{ actions: map(looks, it => it.action), notActions: [] }]
    assignableScopes: [subscription().id]
  }
}

module identity 'identity.bicep' = if (makesIdentity) {
  name: 'portcullis-identity'
  scope: resourceGroup(resourceGroupName)
  params: {
    name: identityName
    location: location
    awsIssuer: awsIssuer
    awsRoles: awsRoles
  }
}

module reader 'identity.bicep' = if (makesReader) {
  name: 'portcullis-reader'
  scope: resourceGroup(resourceGroupName)
  params: {
    name: '${identityName}-reader'
    location: location
    awsIssuer: awsIssuer
    awsRoles: awsReaderRoles
  }
}

resource guarding 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  name: guid(subscription().id, guards.id, principalId)
  properties: {
    roleDefinitionId: guards.id
    principalId: principalId
    principalType: principalType
  }
}

resource guardingFromAws 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (makesIdentity) {
  name: guid(subscription().id, guards.id, resourceGroupName, identityName)
  properties: {
    roleDefinitionId: guards.id
    principalId: makesIdentity ? identity.outputs.principalId : ''
    principalType: 'ServicePrincipal'
  }
}

resource asking 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(requesterId)) {
  name: guid(subscription().id, asks.id, requesterId)
  properties: {
    roleDefinitionId: asks.id
    principalId: requesterId
  }
}

resource askingFromAws 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (makesReader) {
  name: guid(subscription().id, asks.id, resourceGroupName, identityName)
  properties: {
    roleDefinitionId: asks.id
    principalId: makesReader ? reader.outputs.principalId : ''
    principalType: 'ServicePrincipal'
  }
}

@description('What the functions on AWS need to be told: whom to log in as (AzureClient, AzureReader, AzureTenant of the stack).')
output clientId string = makesIdentity ? identity.outputs.clientId : ''
output readerClientId string = makesReader ? reader.outputs.clientId : ''
output tenantId string = tenant().tenantId
