/** Folder trees that are not as they should be: they may cost a label, never a lane too many. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createHttp } from '../../../../services/mail/base/http.ts'
import { createOutlook } from '../../../../services/mail/provider/outlook/adapter.ts'
import { labelOf, readFolders, treeOf } from '../../../../services/mail/provider/outlook/folders.ts'
import { createDriver } from '../../../contract/page-driver.ts'
import { type JsonAnswer, serveJson } from '../json-server.ts'

type Named = Record<string, string | JsonAnswer>
const NOT_FOUND: JsonAnswer = { status: 404, body: { error: { code: 'ErrorItemNotFound', message: 'x' } } }
const REFUSED: JsonAnswer = {
  status: 400,
  body: { error: { code: 'ErrorInvalidIdMalformed', message: 'Id is malformed.' } },
}

/** The state after the first walk. @param named folder of each well-known name, or what is answered instead. */
async function walked(folders: readonly object[], named: Named, otherwise: JsonAnswer) {
  await using graph = await serveJson((path, origin) => {
    if (path.endsWith('/delta')) {
      return { body: { value: folders, '@odata.deltaLink': `${origin}/v1.0/me/mailFolders/delta?$deltatoken=x` } }
    }
    const answer = named[path.split('/').at(-1) ?? ''] ?? otherwise
    return typeof answer === 'string' ? { body: { id: answer } } : answer
  })
  await using http = createHttp({ deadlineMs: 10_000 })
  const driver = createDriver(() => createOutlook({ baseUrl: `${graph.origin}/v1.0`, http }), 't')
  await driver.step('folders')
  const { lanes } = driver.state()
  return { lanes: Object.keys(lanes), tree: treeOf(readFolders(lanes.folders?.cursor ?? null).tree) }
}

const INBOX = { id: 'in', displayName: 'Inbox', parentFolderId: 'root' }
const BIN = { id: 'bin', displayName: 'Papierkorb', parentFolderId: 'root' }
const OWN = { id: 'own', displayName: 'Own', parentFolderId: 'root' }

describe('a folder tree of Outlook', () => {
  it('is taken with a folder that has no name; its mail has no label of it', async () => {
    for (const displayName of [null, 7, undefined]) {
      const { lanes, tree } = await walked([INBOX, { ...OWN, displayName }], { inbox: 'in' }, NOT_FOUND)
      assert.deepEqual(lanes, ['folders', 'folder:in', 'folder:own', 'drain'])
      assert.equal(labelOf(tree, 'own'), null)
    }
  })

  it('is taken when a mailbox does not understand a name that excludes nothing it must', async () => {
    const named = { inbox: 'in', deleteditems: 'bin', drafts: NOT_FOUND, outbox: NOT_FOUND, junkemail: NOT_FOUND }
    const { lanes } = await walked([INBOX, BIN, OWN], named, REFUSED)
    assert.deepEqual(lanes, ['folders', 'folder:in', 'folder:own', 'drain'])
  })

  it('is not taken while a folder may be the bin', async () => {
    const refusals: JsonAnswer[] = [
      REFUSED,
      { status: 403, body: { error: { code: 'ErrorAccessDenied', message: 'x' } } },
    ]
    for (const deleteditems of refusals) {
      await assert.rejects(walked([INBOX, BIN], { inbox: 'in', deleteditems }, NOT_FOUND), { kind: 'rejected' })
    }
    const { lanes } = await walked([INBOX], { inbox: 'in' }, REFUSED)
    assert.deepEqual(lanes, ['folders', 'folder:in', 'drain'], 'no folder is left that could be it')
  })

  it('is not taken when the grant is refused for one name: chats and conflicts would pass for mail', async () => {
    const conversationhistory: JsonAnswer = {
      status: 403,
      body: { error: { code: 'ErrorAccessDenied', message: 'x' } },
    }
    await assert.rejects(walked([INBOX, OWN], { inbox: 'in', conversationhistory }, NOT_FOUND), { kind: 'rejected' })
  })

  it('is asked for again when the provider was down for one name', async () => {
    const down: JsonAnswer = { status: 503, body: { error: { code: 'ServiceUnavailable', message: 'x' } } }
    await assert.rejects(walked([INBOX], { inbox: 'in', archive: down }, NOT_FOUND), { kind: 'transient' })
  })
})
