import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSmaps } from './malloc-trim.ts'

const SMAPS = `00400000-00b6f000 r--p 00000000 fe:00 247580                             /opt/my node
Rss:                5948 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
00b72000-025fe000 r-xp 00772000 fe:00 247580                             /opt/my node
Rss:               16604 kB
Anonymous:             0 kB
0563a000-0563e000 r--p 05239000 fe:00 247580                             /opt/my node
Anonymous:             8 kB
0563e000-0565d000 rw-p 0523d000 fe:00 247580                             /opt/my node
Anonymous:             0 kB
7f304fe40000-7f304ffd2000 r-xp 014c4000 fe:00 1                          /usr/lib/libc.so.6
Anonymous:             0 kB
7f3050000000-7f3050021000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`

test('only read-only mappings of the file without pages of their own may be dropped', () => {
  assert.deepEqual(parseSmaps(SMAPS, '/opt/my node'), [
    { start: 0x400000, length: 0x76f000 },
    { start: 0xb72000, length: 0x1a8c000 },
  ])
  assert.deepEqual(parseSmaps(SMAPS, '/opt/other'), [])
})
