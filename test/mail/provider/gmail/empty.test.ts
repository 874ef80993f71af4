import assert from 'node:assert/strict'
import { it } from 'node:test'
import { createHttp } from '../../../../services/mail/base/http.ts'
import { createGmail } from '../../../../services/mail/provider/gmail/adapter.ts'
import type { ProviderError } from '../../../../services/mail/provider/provider.ts'
import { createDriver } from '../../../contract/page-driver.ts'
import { serveJson } from '../json-server.ts'

for (const body of [{ messages: [] }, { messages: [], resultSizeEstimate: null }, { resultSizeEstimate: 'many' }])
  it(`an empty list is doubted when Gmail does not say that there is nothing: ${JSON.stringify(body)}`, async () => {
    await using gmail = await serveJson((path) =>
      path.endsWith('/profile') ? { body: { emailAddress: 'ada@x.org', messagesTotal: 3, historyId: '5' } } : { body },
    )
    await using http = createHttp({ deadlineMs: 10_000 })
    const driver = createDriver(() => createGmail({ baseUrl: gmail.origin, getUnits: 20, http }), 't')
    await driver.step('history')
    await driver.step('enum')
    assert.equal(driver.state().lanes.enum?.done, false)
    await assert.rejects(driver.step('enum'), { kind: 'transient' })
  })

it('a Gmail mailbox without any mail is live at once, whatever its estimate', async () => {
  await using gmail = await serveJson((path) =>
    path.endsWith('/profile')
      ? { body: { emailAddress: 'ada@x.org', messagesTotal: 0, historyId: '5' } }
      : { body: { resultSizeEstimate: 201 } },
  )
  await using http = createHttp({ deadlineMs: 10_000 })
  const driver = createDriver(() => createGmail({ baseUrl: gmail.origin, getUnits: 20, http }), 't')
  await driver.step('history')
  await driver.step('enum')
  assert.equal(driver.state().lanes.enum?.done, true)
})

for (const lane of ['history', 'enum'])
  it(`a page that names itself as the next one is not asked for again and again: ${lane}`, async () => {
    const page = { historyId: '6', messages: [{ id: 'a', threadId: 'a' }], nextPageToken: 'same' }
    await using gmail = await serveJson((path) =>
      path.endsWith('/profile')
        ? { body: { emailAddress: 'ada@x.org', messagesTotal: 3, historyId: '5' } }
        : { body: page },
    )
    await using http = createHttp({ deadlineMs: 10_000 })
    const driver = createDriver(() => createGmail({ baseUrl: gmail.origin, getUnits: 20, http }), 't')
    await driver.step('history')
    await driver.step(lane)
    await assert.rejects(driver.step(lane), (error: ProviderError) => error.facts.code === 'PAGE_TOKEN_REPEATS')
  })
