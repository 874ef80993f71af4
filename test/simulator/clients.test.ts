import assert from 'node:assert/strict'
import test from 'node:test'
import { Client, type Context, GraphError } from '@microsoft/microsoft-graph-client'
import type { GraphPage } from './requests.ts'
import { type Simulator, startSimulator } from './simulator.ts'
import type { Credentials } from './types.ts'

/** The real Graph client with a bare middleware: its own drops the token for plain http. */
function graphClient(simulator: Simulator, who: Credentials): Client {
  const execute = async (context: Context): Promise<void> => {
    const headers = new Headers(context.options?.headers as Record<string, string>)
    headers.set('authorization', `Bearer ${who.access_token}`)
    context.response = await fetch(context.request as string, { ...context.options, headers } as RequestInit)
  }
  const baseUrl = new URL(simulator.env.MAIL_GRAPH_BASE_URL).origin
  return Client.initWithMiddleware({ baseUrl, defaultVersion: 'v1.0', middleware: { execute } })
}

test('the real Graph client walks a delta round and reads the code of a refusal', async () => {
  await using simulator = await startSimulator()
  const client = graphClient(simulator, simulator.addMailbox({ user: 'u1', provider: 'microsoft', n: 60 }))
  const ids = new Set<string>()
  let path = '/me/mailFolders/inbox/messages/delta?$select=id,subject'
  for (let more = true; more; ) {
    const page = (await client.api(path).header('Prefer', 'IdType="ImmutableId"').get()) as GraphPage
    for (const { id } of page.value) ids.add(id)
    const link = new URL(page['@odata.nextLink'] ?? page['@odata.deltaLink'] ?? '')
    path = link.pathname.replace('/v1.0', '') + link.search
    more = page['@odata.nextLink'] !== undefined
  }
  const inbox = (await client.api('/me/mailFolders/inbox').get()) as { totalItemCount: number }
  assert.equal(ids.size, inbox.totalItemCount)
  simulator.faults.add({ fault: { type: 'expireDelta', code: 'SyncStateNotFound' } })
  await assert.rejects(client.api(path).get(), (error: unknown) => {
    assert.ok(error instanceof GraphError)
    assert.deepEqual([error.statusCode, error.code], [410, 'SyncStateNotFound'])
    return true
  })
})
