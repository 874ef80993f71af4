import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as v from 'valibot'
import { ConnectRequest } from '#shared/contract.ts'

const BODY = { provider: 'google', access_token: 'ya29.a-b_c~+/=', refresh_token: '1//x', expires_in: 0 }

test('a token is printable ASCII without spaces: everything else could not be sent to the provider', () => {
  assert.ok(v.is(ConnectRequest, BODY), 'the control')
  for (const junk of ['', ' ', 'a b', 'AB\u0007C', 'a\nb', 'a\r\nX: y', '\0', 'a€', 'é', '\ud800', 'a\x7f', 'a\n'])
    for (const field of ['access_token', 'refresh_token'])
      assert.equal(v.is(ConnectRequest, { ...BODY, [field]: junk }), false, `${field} ${JSON.stringify(junk)}`)
})
