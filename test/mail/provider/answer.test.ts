import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HttpError } from '../../../services/mail/base/http.ts'
import { noAnswer } from '../../../services/mail/provider/answer.ts'
import { ProviderError } from '../../../services/mail/provider/provider.ts'

const never = new AbortController().signal
const URL_OF_PROVIDER = new URL('https://provider.test/')

test('a request that could not even be made is our own fault and stays what it is', () => {
  const broken = new TypeError('an invalid header value')
  assert.equal(noAnswer('graph.me', broken, never), broken)
  assert.equal(noAnswer('gmail.profile', new Error('wrapped by the SDK', { cause: broken }), never), broken)
})

test('a request that left and brought no answer is transient, whatever broke underneath', () => {
  const network = new HttpError('NETWORK', URL_OF_PROVIDER, { cause: new TypeError('fetch failed') })
  for (const cause of [network, new Error('wrapped by the SDK', { cause: network }), new Error('unknown')]) {
    const error = noAnswer('graph.me', cause, never)
    assert.ok(error instanceof ProviderError)
    assert.equal(error.kind, 'transient')
  }
})

test('an aborted call rejects with the reason of its signal', () => {
  assert.throws(() => noAnswer('graph.me', new TypeError('x'), AbortSignal.abort(new Error('enough'))), /enough/)
})
