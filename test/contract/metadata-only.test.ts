/** Bodies are never fetched: what each adapter asks for, read from the simulator's log of a backfill and of new mail. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { createGmail } from '../../services/mail/provider/gmail/adapter.ts'
import { createOutlook } from '../../services/mail/provider/outlook/adapter.ts'
import { type Bench, bench, type Subject, USER } from './bench.ts'

/** Query parameters of every request that the adapter made on these routes. */
async function asked(box: Bench, provider: Subject['provider'], route: RegExp): Promise<URLSearchParams[]> {
  await box.driver.run()
  box.sim.mutate({ type: 'deliver', user: USER, provider })
  await box.driver.poll()
  const entries = box.sim.log().filter((entry) => route.test(entry.route))
  return entries.map(({ url }) => new URL(url, box.sim.url).searchParams)
}

it('asks Gmail for the metadata of a mail and for named fields, none of which holds its text', async () => {
  const make: Subject['make'] = (sim, http) => createGmail({ baseUrl: sim.env.MAIL_GMAIL_BASE_URL, getUnits: 20, http })
  await using box = await bench({ provider: 'google', make }, 30)
  const gets = await asked(box, 'google', /^gmail\.messages\.get$/)
  assert.ok(gets.length >= box.driver.emitted.length && box.driver.emitted.length > 20)
  for (const query of gets) {
    assert.equal(query.get('format'), 'metadata')
    const fields = (query.get('fields') ?? '').split(',')
    // `payload` or `*` alone would name the body as well.
    for (const field of fields) assert.match(field, /^(?:id|threadId|labelIds|snippet|internalDate|payload\/headers)$/)
  }
})

it('asks Graph for named properties of a mail, none of which holds its text', async () => {
  const make: Subject['make'] = (sim, http) => createOutlook({ baseUrl: sim.env.MAIL_GRAPH_BASE_URL, http })
  await using box = await bench({ provider: 'microsoft', make }, 30)
  // A bare item makes the adapter ask for the mail by itself as well.
  box.sim.faults.add({ match: { route: 'graph.messages.delta', nth: 1 }, fault: { type: 'partialItems' } })
  const asks = await asked(box, 'microsoft', /^graph\.messages\./)
  // A link of Graph carries what its first request asked for.
  const own = asks.filter((query) => !query.has('$skiptoken') && !query.has('$deltatoken'))
  assert.ok(own.length > 1 && box.driver.emitted.length > 20)
  for (const query of own) {
    const properties = (query.get('$select') ?? '').split(',')
    assert.ok(properties.includes('subject'))
    assert.deepEqual(
      properties.filter((property) => /^(?:\*|body|uniqueBody|attachments)$/i.test(property)),
      [],
    )
    assert.equal(query.get('$expand'), null)
  }
  const routes = new Set(box.sim.log().map(({ route }) => route))
  assert.ok(routes.has('graph.messages.get') && routes.has('graph.messages.delta'))
})
