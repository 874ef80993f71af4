import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { addressList, epochSeconds, headerText } from '../../../services/mail/provider/mime.ts'
import { fc } from '../../support/fast-check.ts'

describe('header text', () => {
  const cases: readonly (readonly [raw: string, shown: string])[] = [
    ['plain', 'plain'],
    ['=?utf-8?Q?J=C3=BCrgen_M=C3=BCller?=', 'Jürgen Müller'],
    ['=?UTF-8?B?5bGx55Sw?=', '山田'],
    ['=?utf-8?Q?J=C3=BCr?= =?utf-8?Q?gen?=', 'Jürgen'],
    ['=?utf-8?Q?J=C3=BCr?=\r\n =?utf-8?Q?gen?=', 'Jürgen'],
    ['=?utf-8?Q?a?= plain =?utf-8?Q?b?=', 'a plain b'],
    ['=?utf-8?Q?=E2=9C?= =?utf-8?Q?=93?=', '✓'],
    ['=?UTF-8?B?4pyT4p==?= =?UTF-8?B?nJM=?=', '✓✓'],
    ['=?UTF-8?Q?=F0=9F=98?= =?utf-8?Q?=80?=', '😀'],
    ['=?utf-8?B?8J+Y?= =?UTF-8?Q?=80?=', '😀'],
    ['=?utf-8?Q?=E2=9C?= =?utf-8?Q?=93?= ok =?utf-8?Q?=FF?=', '✓ ok \ufffd'],
    ['=?utf-8?Q?=E2=9C?= =?utf-8?Q?=93?= =?utf-8?Q?=FF?=', '✓\ufffd'],
    ['=?utf-8?B?8J+Y?= =?utf-8?B?gA==?= =?utf-8?B?4pyT4p==?=', '😀✓\ufffd'],
    ['=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= =?iso-2022-jp?B?GyRCOzNFRBsoQg==?=', '山田山田'],
    ['=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?=', 'aé'],
    ['=?iso-8859-1?Q?=C3=A9?=', 'Ã©'],
    ['=?us-ascii?Q?caf=C3=A9?=', 'café'],
    ['=?us-ascii?Q?caf=E9?=', 'café'],
    ['=?unknown-8bit?Q?caf=C3=A9?=', 'café'],
    ['=?x-unknown?Q?caf=C3=A9?=', 'café'],
    ['=?x-unknown?Q?caf=E9?=', 'café'],
    ['=?default?B?5bGx55Sw?=', '山田'],
    ['=?cp936?Q?=CE=BB?=', '位'],
    ['=?utf-7?Q?Gr+APwA3w-e?=', 'Grüße'],
    ['=?UTF-7?Q?1_+-_1,_+2D3eAA-!?=', '1 + 1, 😀!'],
    ['=?utf-7?Q?+A?=', ''],
    ['=?*en?Q?a?=', 'a'],
    ['=?utf-8?Q?Really??=', 'Really?'],
    ['Re: =?utf-8?Q?Who?_Me??= and you?', 'Re: Who? Me? and you?'],
    ['=?UTF-8*en?Q?a_b?=', 'a b'],
    ['=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=', '山田'],
    ['=?windows-1252?Q?Fran=E7ois?=', 'François'],
    ['=?no-such-charset?Q?abc?=', 'abc'],
    ['=?utf-8?Q?with spaces?=', 'with spaces'],
    ['=?utf-8?X?abc?=', '=?utf-8?X?abc?='],
    ['=?utf-8?Q?never ends', '=?utf-8?Q?never ends'],
    ['=?utf-8?Q?line=0D=0ABcc:_x@evil.example?=', 'line Bcc: x@evil.example'],
    ['folded\r\n\tonce', 'folded once'],
    ['raw Grüße 🎉', 'raw Grüße 🎉'],
    ['lone \ud800 surrogate', 'lone \ufffd surrogate'],
    ['', ''],
  ]
  for (const [raw, shown] of cases) {
    it(`shows ${JSON.stringify(raw)} as ${JSON.stringify(shown)}`, () => assert.equal(headerText(raw), shown))
  }

  it('never throws and is one well-formed line, whatever the text', () => {
    const word = fc.constantFrom(
      '=?utf-8?Q?',
      '=?utf-8?B?',
      '=?x?q?',
      '?=',
      '=E2',
      '=',
      '4pyT',
      '\r\n ',
      '\ud800',
      'é',
      '?',
    )
    const text = fc.oneof(
      fc.array(word, { maxLength: 12 }).map((list) => list.join('')),
      fc.string({ unit: 'binary' }),
    )
    fc.assert(
      fc.property(text, (raw) => {
        const shown = headerText(raw)
        return shown.isWellFormed() && !/[\r\n]/.test(shown)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('address lists', () => {
  const cases: readonly (readonly [raw: string, addresses: string[]])[] = [
    ['a@x.org, b@y.org', ['a@x.org', 'b@y.org']],
    ['Ada <a@x.org>', ['a@x.org']],
    ['"Doe, Jane" <jane@x.org>, Bob <bob@y.org>', ['jane@x.org', 'bob@y.org']],
    ['"Jane \\"JJ\\" Doe" <jane@x.org>', ['jane@x.org']],
    ['=?utf-8?Q?Doe=2C_Jane?= <jane@x.org>, c@d.org', ['jane@x.org', 'c@d.org']],
    ['=?utf-8?Q?evil_=3Cboss=40corp.com=3E?= <real@x.org>', ['real@x.org']],
    ['Team: a@x.org, "B, C" <b@y.org>;, z@z.org', ['a@x.org', 'b@y.org', 'z@z.org']],
    ['undisclosed-recipients:;', []],
    ['jane@x.org (Jane Doe), Bob (the "b") <bob@y.org>', ['jane@x.org', 'bob@y.org']],
    ['"Doe,\r\n Jane" <jane@x.org>,\r\n\tbob@y.org', ['jane@x.org', 'bob@y.org']],
    ['Jürgen <jürgen@exämple.org>', ['jürgen@exämple.org']],
    ['jane@x.org <jane@x.org>', ['jane@x.org']],
    ['support@corp.example <other@x.org>', ['other@x.org']],
    ['"john smith"@x.org, x@y.org', ['"john smith"@x.org', 'x@y.org']],
    ['Team: "odd 5"@x.org, b@x.org;', ['"odd 5"@x.org', 'b@x.org']],
    ['Ada <"odd 5"@x.org>', ['"odd 5"@x.org']],
    ['"x@gmail.com x"@internal.example', ['"x@gmail.com x"@internal.example']],
    ['Jane <jane@x.org, bob@y.org', ['jane@x.org', 'bob@y.org']],
    ['Jane <jane@x.org, "Doe, B" <bob@y.org>', ['jane@x.org', 'bob@y.org']],
    ['<a@x.org', ['a@x.org']],
    ['a@x.org; b@y.org', ['a@x.org', 'b@y.org']],
    ['Ada <a@x.org> Bob <b@y.org>', ['a@x.org', 'b@y.org']],
    ['"Ada" <a@x.org> "Bob" <b@y.org>', ['a@x.org', 'b@y.org']],
    ['<a@x.org><b@y.org>', ['a@x.org', 'b@y.org']],
    ['a@x.org b@y.org', ['a@x.org', 'b@y.org']],
    ['ba@x.org a@x.org', ['ba@x.org', 'a@x.org']],
    ['"b@y.org" <a@x.org> (c@z.org)', ['a@x.org']],
    ['b@y.org via c@z.org <a@x.org>', ['a@x.org']],
    ['<@relay.org,@other.org:c@d.org>', ['c@d.org']],
    ['Bob < @relay.org : c@d.org>, a@x.org', ['c@d.org', 'a@x.org']],
    ['u@[127.0.0.1]', ['u@[127.0.0.1]']],
    ['  , a@x.org ,, b@y.org , ', ['a@x.org', 'b@y.org']],
    ['not an address at all', ['not an address at all']],
    ['MAILER-DAEMON', ['MAILER-DAEMON']],
    ['Amy@Example.COM', ['Amy@Example.COM']],
    ['', []],
  ]
  for (const [raw, addresses] of cases) {
    it(`reads ${JSON.stringify(raw)}`, () => assert.deepEqual(addressList(raw), addresses))
  }

  it('never throws, never answers an empty entry, and keeps every plain address', () => {
    const address = fc
      .tuple(fc.stringMatching(/^[a-z]{1,6}$/), fc.stringMatching(/^[a-z]{1,6}\.org$/))
      .map(([local, domain]) => `${local}@${domain}`)
    const noise = fc.constantFrom(
      '"',
      '<',
      '>',
      ',',
      ';',
      ':',
      '(',
      ')',
      ' ',
      '\\',
      '\r\n ',
      '@',
      'name',
      '=?utf-8?Q?x?=',
    )
    fc.assert(
      fc.property(fc.array(fc.oneof(address, noise), { maxLength: 14 }), (parts) => {
        const list = addressList(parts.join(''))
        return list.every((one) => one !== '' && one.isWellFormed())
      }),
      { numRuns: 3_000 },
    )
    fc.assert(
      fc.property(
        fc.uniqueArray(address, { minLength: 1, maxLength: 20 }),
        fc.constantFrom(',', ', ', ',\r\n\t', ' ; '),
        (list, comma) => {
          assert.deepEqual(addressList(list.join(comma)), list)
        },
      ),
    )
  })

  it('takes hostile text of 200 kB without hanging', () => {
    for (const piece of [
      '(',
      '"',
      'a,',
      '<a@',
      'a',
      '"@',
      ',"',
      '=?u?Q?',
      '=?u?Q?a?=',
      '=?utf-7?Q?+?=',
      '=?utf-8?q?=FF?= ',
      '<@a,',
      '<@a:',
      'a@x ',
      '<a@x>',
      '+',
      '=',
      '\\',
      ':',
      ' ',
    ]) {
      const raw = piece.repeat(Math.floor(200_000 / piece.length))
      assert.ok(Array.isArray(addressList(raw)))
      assert.equal(typeof headerText(raw), 'string')
    }
  })
})

describe('times', () => {
  it('makes seconds of milliseconds, null of what is no time, and stops at the year 9999', () => {
    assert.equal(epochSeconds(1_704_139_172_999), 1_704_139_172)
    assert.equal(epochSeconds(0), 0)
    assert.equal(epochSeconds(-0), 0)
    for (const none of [Number.NaN, Number.POSITIVE_INFINITY, -1, Date.parse('0001-01-01T00:00:00Z')]) {
      assert.equal(epochSeconds(none), null)
    }
    assert.equal(epochSeconds(Number.MAX_VALUE), 253_402_300_799)
  })
})
