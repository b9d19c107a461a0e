.dnnc 2
.model "two layers"
.batch 1
.tolerance "exact"
.main 0x534
.arch
|name: small # a "machine"
|rows: 4
|
|  nested: 'µm²'
|

.tensor "conv.x" i8 (1, 6, 5, 6) at 0x480
.tensor "conv.w" i8 (3, 3, 6, 8) at 0x0
.tensor "conv.bias" i32 (8) at 0x1c0
.tensor "conv.scale" f32 (8) at 0x200
.tensor "conv.y" i8 (1, 6, 5, 8) at 0x380
.tensor "pool.x" i8 (1, 8, 8, 5) at 0x240
.tensor "pool.y" i8 (1, 4, 4, 5) at 0x480
.tensor "text" "seq(map(string, tensor(float)))" ?
.input "conv.x"
.input "pool.x"
.output "conv.y"
.output "pool.y"
.output "text"
.constant 0x0 sha256:f9566acff0f9ba3106a863217bb4ac021892fb974a7a0b5d8cf937c4b25e5546
.constant 0x1c0 sha256:a06ccbeb1b63a43bb2e936b99f2cb4de38492c40a4982159dc5065e0cc34e133
.constant 0x200 sha256:5029afaef7dd684502f193081349b5b577324a067d15ef8cb3d01974f6e983b5
.call "labels" ("pool.y") -> ("text") sha256:a23805b12d914e9d0dbcae6b7f814a8f1be168e043d8dcefc5e4eb2364663d6c  # host region 0

.region "conv" "mac" accelerator dataflow ws im2col implicit  # instructions 0..57
  configure.load s0 role input element_bits 8 fill 0x3 main_stride (180, 30, 6, 1) local_stride (112, 28, 4, 1)
  configure.load s1 role weight element_bits 8 main_stride (144, 48, 8, 1) local_stride (48, 16, 4, 1)
  configure.load s2 role bias element_bits 32 main_stride (1) local_stride (1)
  configure.load s3 role aux element_bits 32 main_stride (1) local_stride (1)
  configure.a role input type i8 zero_point 3 stride (0, 0, 28, 4, 28, 4, 1)
  configure.b role weight type i8 stride (0, 1, 0, 0, 48, 16, 4)
  configure.c type i32 dataflow ws body mac form subtract row_counter 6 col_counter 1 counter_class (point, column, point, point, reduce, reduce, reduce) stride (0, 1, 20, 4)
  configure.store type i8 accumulator i32 post_steps 3 main_stride (240, 40, 8, 1) local_stride (40, 20, 4, 1)
  configure.post op bias operand_type i32 role bias slot 0 stride (1)
  configure.post step 1 op requantize type i8 role aux slot 1 stride (1) zero_point -4
  configure.post step 2 op clamp low -4 high 127
  load s0 main 0x45c local 0x0 extent (4, 7, 4) before (1, 1, 0) after (1, 0)
  load s1 main 0x0 local 0xe0 extent (3, 3, 4, 4)
  load s2 main 0x1c0 local 0x200 extent (4)
  load s3 main 0x200 local 0x210 extent (4)
  load s0 main 0x460 local 0x70 extent (4, 7, 2) before (1, 1, 0) after (1, 0)
  load s1 main 0x20 local 0x170 extent (3, 3, 2, 4)
  compute a 0x0 b 0xe0 c 0x10000 extent (1, 4, 2, 5, 3, 3, 4) wait load 3
  load s0 main 0x498 local 0x0 extent (4, 7, 4) before (1, 0) after (1, 0) wait execute 1
  load s1 main 0x0 local 0xe0 extent (3, 3, 4, 4) wait execute 1
  compute accumulate 1 a 0x70 b 0x170 c 0x10000 extent (1, 4, 2, 5, 3, 3, 2) wait load 3
  store main 0x380 local 0x10000 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  load s0 main 0x49c local 0x70 extent (4, 7, 2) before (1, 0) after (1, 0) wait execute 1
  load s1 main 0x20 local 0x170 extent (3, 3, 2, 4) wait execute 1
  compute a 0x0 b 0xe0 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 4) wait load 3
  load s0 main 0x4d4 local 0x0 extent (4, 7, 4) before (1, 0) after (1, 1, 0) wait execute 1
  load s1 main 0x0 local 0xe0 extent (3, 3, 4, 4) wait execute 1
  compute accumulate 1 a 0x70 b 0x170 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 2) wait load 3
  store main 0x3d0 local 0x100a0 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  load s0 main 0x4d8 local 0x70 extent (4, 7, 2) before (1, 0) after (1, 1, 0) wait execute 1
  load s1 main 0x20 local 0x170 extent (3, 3, 2, 4) wait execute 1
  compute a 0x0 b 0xe0 c 0x10000 extent (1, 4, 2, 5, 3, 3, 4) wait load 3 store 2
  load s0 main 0x45c local 0x0 extent (4, 7, 4) before (1, 1, 0) after (1, 0) wait execute 1
  load s1 main 0x4 local 0xe0 extent (3, 3, 4, 4) wait execute 1
  compute accumulate 1 a 0x70 b 0x170 c 0x10000 extent (1, 4, 2, 5, 3, 3, 2) wait load 3
  store main 0x420 local 0x10000 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  load s2 main 0x1d0 local 0x200 extent (4) wait store 1
  load s3 main 0x210 local 0x210 extent (4) wait store 1
  load s0 main 0x460 local 0x70 extent (4, 7, 2) before (1, 1, 0) after (1, 0) wait execute 1
  load s1 main 0x24 local 0x170 extent (3, 3, 2, 4) wait execute 1
  compute a 0x0 b 0xe0 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 4) wait load 3 store 2
  load s0 main 0x498 local 0x0 extent (4, 7, 4) before (1, 0) after (1, 0) wait execute 1
  load s1 main 0x4 local 0xe0 extent (3, 3, 4, 4) wait execute 1
  compute accumulate 1 a 0x70 b 0x170 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 2) wait load 3
  store main 0x384 local 0x100a0 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  load s0 main 0x49c local 0x70 extent (4, 7, 2) before (1, 0) after (1, 0) wait execute 1
  load s1 main 0x24 local 0x170 extent (3, 3, 2, 4) wait execute 1
  compute a 0x0 b 0xe0 c 0x10000 extent (1, 4, 2, 5, 3, 3, 4) wait load 3 store 2
  load s0 main 0x4d4 local 0x0 extent (4, 7, 4) before (1, 0) after (1, 1, 0) wait execute 1
  load s1 main 0x4 local 0xe0 extent (3, 3, 4, 4) wait execute 1
  compute accumulate 1 a 0x70 b 0x170 c 0x10000 extent (1, 4, 2, 5, 3, 3, 2) wait load 3
  store main 0x3d4 local 0x10000 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  load s0 main 0x4d8 local 0x70 extent (4, 7, 2) before (1, 0) after (1, 1, 0) wait execute 1
  load s1 main 0x24 local 0x170 extent (3, 3, 2, 4) wait execute 1
  compute a 0x0 b 0xe0 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 4) wait load 3 store 2
  compute accumulate 1 a 0x70 b 0x170 c 0x100a0 extent (1, 4, 2, 5, 3, 3, 2) wait load 1
  store main 0x424 local 0x100a0 extent (2, 5, 4) aux (0x200, 0x210) wait execute 1
  fence

.region "pool" "max" accelerator im2col none  # instructions 58..69
  configure.load s0 role input element_bits 8 fill 0x80 main_stride (320, 40, 5, 1) local_stride (360, 72, 8, 1)
  configure.a role input type i8 stride (144, 16, 1, 72, 8)
  configure.c type i32 dataflow vector body max col_counter 2 counter_class (point, point, point, reduce, reduce) stride (32, 8, 1)
  configure.store type i8 accumulator i32 post_steps 1 main_stride (80, 20, 5, 1) local_stride (64, 32, 8, 1)
  configure.post op saturate type i8
  load s0 main 0x213 local 0x0 extent (5, 9, 5) before (1, 1, 0)
  load s0 main 0x2b3 local 0x168 extent (5, 9, 5) before (1, 0)
  vector a 0x0 c 0x10000 extent (2, 4, 5, 3, 3) wait load 2
  store main 0x480 local 0x10000 extent (2, 4, 5) wait execute 1
  vector a 0x168 c 0x10100 extent (2, 4, 5, 3, 3) wait load 1
  store main 0x4a8 local 0x10100 extent (2, 4, 5) wait execute 1
  fence

.region "labels" "ZipMap" host  # instructions 70..70
  host region 0

.blob sha256:5029afaef7dd684502f193081349b5b577324a067d15ef8cb3d01974f6e983b5 32
AACoQgAApEIAADTCAACUwgAAkEEAAKrCAACUwgAArMI=

.blob sha256:a06ccbeb1b63a43bb2e936b99f2cb4de38492c40a4982159dc5065e0cc34e133 32
XgAAAEkAAADK////+v///xMAAABRAAAAt////zQAAAA=

.blob sha256:a23805b12d914e9d0dbcae6b7f814a8f1be168e043d8dcefc5e4eb2364663d6c 260
bm8gT05OWCBtb2RlbG5vIE9OTlggbW9kZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2RlbG5vIE9OTlggbW9kZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2Rl
bG5vIE9OTlggbW9kZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2RlbG5vIE9OTlggbW9kZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2RlbG5vIE9OTlggbW9k
ZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2RlbG5vIE9OTlggbW9kZWxubyBPTk5YIG1vZGVsbm8gT05OWCBtb2RlbG5vIE9OTlggbW9kZWw=

.blob sha256:f9566acff0f9ba3106a863217bb4ac021892fb974a7a0b5d8cf937c4b25e5546 432
RRsC0tmlq6C/Ph1RABVdLRoIC1bTPiGd60YKozQtRL+uR6EIrNj88OyinrWeIQUdzxY06PhiPF/oJFkdQyUo6kq3DytEBefa8P0rTatVBuMiDs/cKxIA3zPq
3U3RySoYpq3nQew428w5SqyoId8Oukf2TjooyjSnDe1ixFiuGA9O2E8iTcQzV6blG7EBGTRU7vT6WsP/pvFYF+JiFFig+EIz7f/wBco4rO/ULjEpVFXBs7ct
XVQhXEmftEitX0Ba5LoDXeVN6D/K/N3LTTu4U13R8Qcf9LpVJqU+LcEWAKJUK9qgrzO6Ak5U0qr+QxiqHeHJ8klcuAwz0NLMxkzIybW1N9Y7EUYKND2pC/fW
9u7+PkAZKVob5q0KyhKiRFi5P+2lUVelEj8570dBs56x5bKs0B4E01koGlc4tqRI7aj76PLy2/3+XiY2ntpf0gFHG0u9AhrhDmEu26nB0kvSPdMhBVoNVFsx
GUdizQy4sSGmKj++I+tNUQ8MKQ8wwzcFMQTZrgVfpA71ngg1L14FEVzcO8LkIg/DHw9TFExbrqsA/wow28Aj6VWpKSzSrtzr

.end
