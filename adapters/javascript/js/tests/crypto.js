// Recorded with Node.js 20's crypto.subtle over the message "message"; raw keys and nonces are the bytes 1, 2, 3…
const recorded = {
  "values": {
    "digest SHA-1": "6f9b9af3cd6e8b8a73c2cdced37fe9f59226e27d",
    "hmac SHA-1": "5e553f932ee726e099e90dffe615b677267b0e16",
    "digest SHA-256": "ab530a13e45914982b79f9b7e3fba994cfd1f3fb22f71cea1afbf02b460c6d1d",
    "hmac SHA-256": "a483409aa4471e9323d54a9b320be48e487cbf24e97da3bda75b0e4b9db9cfb4",
    "digest SHA-384": "353eb7516a27ef92e96d1a319712d84b902eaa828819e53a8b09af7028103a9978ba8feb6161e33c3619c5da4c4666a5",
    "hmac SHA-384": "55390e5f383dc4c16ef6f8f66d17dc30aef6854acf76c9a7fa08b1784b32584611a369544a57522bf30b595146be3312",
    "digest SHA-512": "f8daf57a3347cc4d6b9d575b31fe6077e2cb487f60a96233c08cb479dbf31538cc915ec6d48bdbaa96ddc1a16db4f4f96f37276cfcb3510b8246241770d5952c",
    "hmac SHA-512": "91a617642d39b627f687bb5f21d1c4c6138b76e1e68f2c4dea56b4e59a03abdcdfd03c4bcbfd309b8c1d5230ba7a16bef6de2f62d7dd6753626cf88bc55930db",
    "pbkdf2": "b7cc3b0356af67a04dae697cd60041a793c0544673390a260c4271310897ae4a",
    "hkdf": "d69ef8bf110cdd6e4cc46a5586d8f97edf6d1cb2f5745db3e291e39be22d4d7525789e6a2d6fe4768b62d4c9f4666d14dbf6",
    "AES-GCM16": "20f91f35b6e4568517d58b060c9953aa2a0d7c4129ed4d",
    "AES-CBC16": "f4fe6322786a044d5e49b7e4ac9eeb31",
    "AES-CTR16": "59a6480c759a36",
    "AES-GCM32": "c34bdfee510c468dc815c0e5fc722a706e255c98830480",
    "AES-CBC32": "8e5950f90acb3d4fc45c295b476c68e6",
    "AES-CTR32": "22642354565417"
  },
  "keys": {
    "P-256": {
      "jwk": {
        "key_ops": [
          "sign"
        ],
        "ext": true,
        "kty": "EC",
        "x": "RlEUPYsuNXkc_uHxlIX4B7FqgoawdW5UHypN07IWVYQ",
        "y": "3E1rzaPr0Hd9vrRZrmAh8xx72afVWJCzCn4_iTbf3Fw",
        "crv": "P-256",
        "d": "JlHM7ISTYigQjvx7pZuMmjO3GlFzQfeNDcEJ9xwabOY"
      },
      "pkcs8": "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b02010104202651ccec84936228108efc7ba59b8c9a33b71a517341f78d0dc109f71c1a6ce6a144034200044651143d8b2e35791cfee1f19485f807b16a8286b0756e541f2a4dd3b2165584dc4d6bcda3ebd0777dbeb459ae6021f31c7bd9a7d55890b30a7e3f8936dfdc5c",
      "spki": "3059301306072a8648ce3d020106082a8648ce3d030107034200044651143d8b2e35791cfee1f19485f807b16a8286b0756e541f2a4dd3b2165584dc4d6bcda3ebd0777dbeb459ae6021f31c7bd9a7d55890b30a7e3f8936dfdc5c",
      "signature": "f39afd4572dee8024c97cf02b9caa6e4ae2e6746cd53cd41ffeafb30c284f3ef9f72656d241187629c98ca209562a71284f26fe20c89abb61410ecaf1ad059da",
      "raw": "044651143d8b2e35791cfee1f19485f807b16a8286b0756e541f2a4dd3b2165584dc4d6bcda3ebd0777dbeb459ae6021f31c7bd9a7d55890b30a7e3f8936dfdc5c"
    },
    "P-384": {
      "jwk": {
        "key_ops": [
          "sign"
        ],
        "ext": true,
        "kty": "EC",
        "x": "aerJn2RK8DH5yBP2JH_tiUUt35qC8GGfIQ9G9rsLnL6H2fZ_mUPk0gIojyFtMdTy",
        "y": "HApAWJDqMkMlDeDqYecESK4oOTpoQntXeHtDwaOZwaJr5zh6GL8NuOZEUQ1Xh2Gs",
        "crv": "P-384",
        "d": "a5nPp0bTivQ7X1MDe8aG1MXET27G9hdAaeLieF3HtM9leppkz04sgQzYsjy-TeA8"
      },
      "pkcs8": "3081b6020100301006072a8648ce3d020106052b8104002204819e30819b02010104306b99cfa746d38af43b5f53037bc686d4c5c44f6ec6f6174069e2e2785dc7b4cf657a9a64cf4e2c810cd8b23cbe4de03ca1640362000469eac99f644af031f9c813f6247fed89452ddf9a82f0619f210f46f6bb0b9cbe87d9f67f9943e4d202288f216d31d4f21c0a405890ea3243250de0ea61e70448ae28393a68427b57787b43c1a399c1a26be7387a18bf0db8e644510d578761ac",
      "spki": "3076301006072a8648ce3d020106052b810400220362000469eac99f644af031f9c813f6247fed89452ddf9a82f0619f210f46f6bb0b9cbe87d9f67f9943e4d202288f216d31d4f21c0a405890ea3243250de0ea61e70448ae28393a68427b57787b43c1a399c1a26be7387a18bf0db8e644510d578761ac",
      "signature": "0f9b467f2800e21990ea887c91fe44b3304c1c3f04144027ebdbfe32801faa0d42a933ae9289de4fa9ce68255b22217b7d799cad5126294b11d11b9331049e9d0ed0f82cc07041e856ad9b64288048084e89e6d17d8ca80d7acec6d2c374850a",
      "raw": "0469eac99f644af031f9c813f6247fed89452ddf9a82f0619f210f46f6bb0b9cbe87d9f67f9943e4d202288f216d31d4f21c0a405890ea3243250de0ea61e70448ae28393a68427b57787b43c1a399c1a26be7387a18bf0db8e644510d578761ac"
    },
    "Ed25519": {
      "jwk": {
        "key_ops": [
          "sign"
        ],
        "ext": true,
        "crv": "Ed25519",
        "d": "ZzeQUr5wEYwAZIf2j5eUCmIiBkOjpiLbVep89lnHebA",
        "x": "gCLfcfqlETkp-NiRHLw7jD_qobPCtEbag4asOOrVuZw",
        "kty": "OKP",
        "alg": "Ed25519"
      },
      "pkcs8": "302e020100300506032b65700422042067379052be70118c006487f68f97940a62220643a3a622db55ea7cf659c779b0",
      "spki": "302a300506032b65700321008022df71faa5113929f8d8911cbc3b8c3feaa1b3c2b446da8386ac38ead5b99c",
      "signature": "820e0e23cfcd370c8b0f0ccecbd3ed4d5c1b1fd82984283b2f5c9a5efd91ea810f16d98d4e1669198995a1020b535936a668eb3613aac5fc554192a0f99ca107",
      "raw": "8022df71faa5113929f8d8911cbc3b8c3feaa1b3c2b446da8386ac38ead5b99c"
    },
    "RSA": {
      "jwk": {
        "key_ops": [
          "sign"
        ],
        "ext": true,
        "kty": "RSA",
        "n": "sKN_Mcwo4O2RjeNn9B_EDjHzM52dN7Zps8Wndtg6mAV4YFdK-LRU2yaenEqnbbkeZmmte_7chpum5dDKh-9fnYFduZCbGhxPK2OesUMYQrY8n0CkltmLUlt_4u9DPsa_wWkx59OcGJ0qqgkKaoxYv10jCCFAvoCagRZA3CbAWBh4vABw8E9iRK7zOHwyqDC7PJGiZ44p4tqZLlQ0Uk2mpyoXtPGOU5qZ9lPm7JioOrOIvo8PPccbIacJnpHjPlFnnWJT95DpVtHEilMnaDOS0c5mg9W_viGELUxkAPt13xdcHKcK5Q4C7WwbnxWEnGJqfgm_4tr_iENWjDzgUf0P2w",
        "e": "AQAB",
        "d": "qRWf1sQ0JHEMKvEELdZzcnh6gBjgHxD-Ol8IGa03vtwoUIJbiO_A9VyClFJwSDRsLGPDn1G7cgKNXRrj4OZtkmY1Q143U0c31wnMext3uit_FSuE08VONLKaqnZBveQtVT4yshtBmBVMQc0sx9F0d_MvwDT4KH_ygp71WuRoAbHUDCCnHZWSBqpBJDBTMElJyPq2SDUxUqV93zm4kdnpz_y9MfeS7Ka4FU9W1NPLuyiaq5o95KDj7XfvXXA5dXN3ekoXhHGmr9wO0Eh59OSTrRXM4rNbZAwC4GjJrYazm7NnSEyRO11VG7X56JbxYBCqbXDwm5ro3BQiDM24uXKl",
        "p": "1_dNcdp_QiXw1C7ZEb7m7DpPvpJ-jM9_n6HUz5TkQtkKCEP4zejyHDd8108V4KbYgKTU1zUrJJ1GC0SW9K7hDG9ot00U6WBs9Km0xsLFsb-p-KA4WYddgAyoTahAzXOrblASsl2paz8toMb4NvUY81pFiO-lAMrzOQtPjFlybm8",
        "q": "0WHopTj3vo-rFRVcpiz1gWWvWan3JgKifuXhJXYu6BLxzy2bnJrxD7Hs9r550z1tsDzMPnr2B7IG8q-ZvjUCKgn09FRDLhS8XaeApmNYi3PhiZpt9kgaXGxYhp1ZSDp7h1Llo10nwsW0Je2E8CKMdHpNueNDCP2hQhtBQW2Ka1U",
        "dp": "iRXxktOe894hgI48O4dyDYD2HYHf0oHkAPA4pYtdWRFrzNNYm1vCUybll8YbnP5Lb10xvWmCeTtbustPBwH62GnfjnrfS0Rp5OPUXFZGJw4CVk9ddXb3YtCmBKVIfSFvMBajx5Ssdeckj2m9JSVvMQmcGdAEbPxmZ09Gr1AX0wE",
        "dq": "TOW9cHi0nBrdhTe8OBeI7sXumWqPpzkOfrZkcsKtxXO3tRQV83UAFXiOA6y-xzLnRvN9O3EjTH44iQau2ylSqyfO-7C6n4DkES1EVVdlHIopicTan7mpXMo51O6S7LD1zyRFzDKZOLItUESkLyExHlIQm7V4WCP2BnZGCAZ38KU",
        "qi": "R7MlAfZJh4NU8iWqeQ8rWjvmPeJkt3K9rMwczZaz3Y9YxZjw0XUEJXHSNhFbT4P37LWd4r17-OchgkkxiV0NCIze0PuASVlKPtrjoY1Xdbs0Qb0ulth6_3VSO0Ipm-z120I5Ie2X68QzF5gkDOCivghrgFbzj3gMT-Lzfl5kq8U",
        "alg": "RS256"
      },
      "pkcs8": "308204bd020100300d06092a864886f70d0101010500048204a7308204a30201000282010100b0a37f31cc28e0ed918de367f41fc40e31f3339d9d37b669b3c5a776d83a98057860574af8b454db269e9c4aa76db91e6669ad7bfedc869ba6e5d0ca87ef5f9d815db9909b1a1c4f2b639eb1431842b63c9f40a496d98b525b7fe2ef433ec6bfc16931e7d39c189d2aaa090a6a8c58bf5d23082140be809a811640dc26c0581878bc0070f04f6244aef3387c32a830bb3c91a2678e29e2da992e5434524da6a72a17b4f18e539a99f653e6ec98a83ab388be8f0f3dc71b21a7099e91e33e51679d6253f790e956d1c48a5327683392d1ce6683d5bfbe21842d4c6400fb75df175c1ca70ae50e02ed6c1b9f15849c626a7e09bfe2daff8843568c3ce051fd0fdb02030100010282010000a9159fd6c43424710c2af1042dd67372787a8018e01f10fe3a5f0819ad37bedc2850825b88efc0f55c8294527048346c2c63c39f51bb72028d5d1ae3e0e66d926635435e37534737d709cc7b1b77ba2b7f152b84d3c54e34b29aaa7641bde42d553e32b21b4198154c41cd2cc7d17477f32fc034f8287ff2829ef55ae46801b1d40c20a71d959206aa41243053304949c8fab648353152a57ddf39b891d9e9cffcbd31f792eca6b8154f56d4d3cbbb289aab9a3de4a0e3ed77ef5d70397573777a4a178471a6afdc0ed04879f4e493ad15cce2b35b640c02e068c9ad86b39bb367484c913b5d551bb5f9e896f16010aa6d70f09b9ae8dc14220ccdb8b972a502818100d7f74d71da7f4225f0d42ed911bee6ec3a4fbe927e8ccf7f9fa1d4cf94e442d90a0843f8cde8f21c377cd74f15e0a6d880a4d4d7352b249d460b4496f4aee10c6f68b74d14e9606cf4a9b4c6c2c5b1bfa9f8a03859875d800ca84da840cd73ab6e5012b25da96b3f2da0c6f836f518f35a4588efa500caf3390b4f8c59726e6f02818100d161e8a538f7be8fab15155ca62cf58165af59a9f72602a27ee5e125762ee812f1cf2d9b9c9af10fb1ecf6be79d33d6db03ccc3e7af607b206f2af99be35022a09f4f454432e14bc5da780a663588b73e1899a6df6481a5c6c58869d59483a7b8752e5a35d27c2c5b425ed84f0228c747a4db9e34308fda1421b41416d8a6b55028181008915f192d39ef3de21808e3c3b87720d80f61d81dfd281e400f038a58b5d59116bccd3589b5bc25326e597c61b9cfe4b6f5d31bd6982793b5bbacb4f0701fad869df8e7adf4b4469e4e3d45c5646270e02564f5d7576f762d0a604a5487d216f3016a3c794ac75e7248f69bd25256f31099c19d0046cfc66674f46af5017d3010281804ce5bd7078b49c1add8537bc381788eec5ee996a8fa7390e7eb66472c2adc573b7b51415f3750015788e03acbec732e746f37d3b71234c7e388906aedb2952ab27cefbb0ba9f80e4112d445557651c8a2989c4da9fb9a95cca39d4ee92ecb0f5cf2445cc329938b22d5044a42f21311e52109bb5785823f6067646080677f0a502818047b32501f649878354f225aa790f2b5a3be63de264b772bdaccc1ccd96b3dd8f58c598f0d175042571d236115b4f83f7ecb59de2bd7bf8e721824931895d0d088cded0fb8049594a3edae3a18d5775bb3441bd2e96d87aff75523b42299becf5db423921ed97ebc4331798240ce0a2be086b8056f38f780c4fe2f37e5e64abc5",
      "spki": "30820122300d06092a864886f70d01010105000382010f003082010a0282010100b0a37f31cc28e0ed918de367f41fc40e31f3339d9d37b669b3c5a776d83a98057860574af8b454db269e9c4aa76db91e6669ad7bfedc869ba6e5d0ca87ef5f9d815db9909b1a1c4f2b639eb1431842b63c9f40a496d98b525b7fe2ef433ec6bfc16931e7d39c189d2aaa090a6a8c58bf5d23082140be809a811640dc26c0581878bc0070f04f6244aef3387c32a830bb3c91a2678e29e2da992e5434524da6a72a17b4f18e539a99f653e6ec98a83ab388be8f0f3dc71b21a7099e91e33e51679d6253f790e956d1c48a5327683392d1ce6683d5bfbe21842d4c6400fb75df175c1ca70ae50e02ed6c1b9f15849c626a7e09bfe2daff8843568c3ce051fd0fdb0203010001",
      "signature": "a9550358b307177f98a6383aa6241af3ba3cba19fd1d1780a7972f0c46487cd4eb4bc31a2538c20f1d97af8557b2bd697a49393c849d56d204d8962b690c78d1e64aad37c7a5b6aab73a37a655c634d84157c4c42bd023ff9fb9baa4997cc6e476184fbd34b4c37bd08fd3110c4da1ea2e4280ff6009e2ad1ec9ef1f1e6b0d75ed9a417988735ea9f90617c10223e2b5d56be7a3d7b54aa3f9f03835213763e7e2a75c57e288ae96490aeb38254941649bdf7594d3e48d1539d710b844f33e8dba93ea76ca81a2e2c36ef2347ca76b9801ad7924b195e10a8ce5a41332e460dc95dde571068cc6e88c10249ff5fba76b3f6cb4d87def605b2fbd0edbdab11a85"
    },
    "PSS": {
      "jwk": {
        "key_ops": [
          "sign"
        ],
        "ext": true,
        "kty": "RSA",
        "n": "rQ0sKgIoeqL35kHwnJBj9X90SWJnp0_ITaMl4UX5bWxbVrmQbS399HXloUYrJmdQX16WJGJT1YF1l6Uet5WgHl3rSJPKlNibjFdrdVCaJbKIfNN7YclrVIcYaP4H9A24d0BpY0JpXbWPAwB7NkRIvzz1_bm03Pb_dMNBQr4EOB-HpkMV6_u_U4ipEOjgGyipzE1U0RApo6fE9XBieOXLo-UFBtKuaNJ-1DLy-nTlVHFdg29p9Wt9xGyUz6CZGCRRvONcuJEx0dYfmURQjcYqMIzjUjlhUjUFe4asB0VzCGwP-al3fvLJzmTp8cSA1dH8Nr6gORTyVgyRtjRHyrMtBQ",
        "e": "AQAB",
        "d": "RYNMkcVTKEwNY29qbSGtHYDon8_JDlLEhbc68J5Qns1PdWtN4iV-5TN0nc9XZvJKPTz797qNrW5244be62TNsFUOvZUsY5UNCpdVIYdSnED2hZnX7oRfulEYE5izbiwSxMhZbRdQxuU3AMAxPi-4vyUINTbjOX14SRljviEhBb-veXIjD2hnDUyxcGRX5xrk4C1P3NJuwbc5I6znwDVm9cQZzM8MTAVCaJY1ZRQC9OCG9M4ePgLl4u1Op6YE_oj14dvTxw40CquMXlgzwkmJZkUsVD5P3WPQxJcVamDgqx-DRMhfgTaHHe82XCVGHgWktJ5ee1LGnVCIe_55zKfEAw",
        "p": "1gh0PPrECNV9pytBKo_LIASIbmD5MBqqiGpQK1yIk0hRRQ1az9kamN_FldT4pfU2RhyeuZdCLPCuh8azqMkHwNFSfM-aBxlORxlvvrfPKmuZGBJAv6StdcWSzQDAj0LD37T3u_LVW1iprEh-4fcawDlwmgOjLRhHEOr9gEFoZH8",
        "q": "zvueSdyXrvfzYS-O0k9I-yHb79hMbJkHoiAqpnlBTfk0VBZ_QQj099-e5TPnFt206SYqpObHPb1jkb_L2Ft2R4qhhYIXVFUzJA3fx-nRuAANPeRMPbHAxzzxiEx1hlNKkV0cYxzZEg3VJNJTviQMXBAZ8bZzaN5EQMcZ13LzHHs",
        "dp": "jOGvsVvWoYH1XY3pLRzNNVwGebE3FOTYj0Z7Uq9r7pZReERcHCfpi-rvYbp3mLWZbfj0uXDIzE_4ccLnCxiYE-E0jJcR6c5MahxiI4VVxbRhZyjMmdjJnJXaFTqDhUkLKTszPfGPYrsvpAlsC0zdvN2SMq5mQA6U6JvlFQD4t_0",
        "dq": "Vt8AVlvBRexHN7jwJpCkPtK9LnMH0GSB8aeyfuBRalp3fftbOX564jX2yJf6G3y920TrjP5XDTCZw6hN8-afQ_OJSzGIfRqtNiqki5E1Nha_eASDgzlBgd2wOdZtVQ1MNKpxqZ-H863ekW-9OgaDMXiIiwxab98pok5uKCDUrFU",
        "qi": "rlmaIqJrWjJtstcTae1n7IC1vMOT7qt0wnvZTOb6LifBwdwmNZNXhEtkNiHm5dqI02lZoVIRZSEK5Mp-yX_-MEirjTEGEPTR8jFWDCNHid5qJoG8ky1slyEMoRkPsY51-E1T7kaqtmu9HUbnostxKUamvfWCED0YoDewH587lng",
        "alg": "PS256"
      },
      "pkcs8": "308204be020100300d06092a864886f70d0101010500048204a8308204a40201000282010100ad0d2c2a02287aa2f7e641f09c9063f57f74496267a74fc84da325e145f96d6c5b56b9906d2dfdf475e5a1462b2667505f5e96246253d5817597a51eb795a01e5deb4893ca94d89b8c576b75509a25b2887cd37b61c96b54871868fe07f40db87740696342695db58f03007b364448bf3cf5fdb9b4dcf6ff74c34142be04381f87a64315ebfbbf5388a910e8e01b28a9cc4d54d11029a3a7c4f5706278e5cba3e50506d2ae68d27ed432f2fa74e554715d836f69f56b7dc46c94cfa099182451bce35cb89131d1d61f9944508dc62a308ce35239615235057b86ac074573086c0ff9a9777ef2c9ce64e9f1c480d5d1fc36bea03914f2560c91b63447cab32d0502030100010282010045834c91c553284c0d636f6a6d21ad1d80e89fcfc90e52c485b73af09e509ecd4f756b4de2257ee533749dcf5766f24a3d3cfbf7ba8dad6e76e386deeb64cdb0550ebd952c63950d0a97552187529c40f68599d7ee845fba51181398b36e2c12c4c8596d1750c6e53700c0313e2fb8bf25083536e3397d78491963be212105bfaf7972230f68670d4cb1706457e71ae4e02d4fdcd26ec1b73923ace7c03566f5c419cccf0c4c0542689635651402f4e086f4ce1e3e02e5e2ed4ea7a604fe88f5e1dbd3c70e340aab8c5e5833c2498966452c543e4fdd63d0c497156a60e0ab1f8344c85f8136871def365c25461e05a4b49e5e7b52c69d50887bfe79cca7c40302818100d608743cfac408d57da72b412a8fcb2004886e60f9301aaa886a502b5c88934851450d5acfd91a98dfc595d4f8a5f536461c9eb997422cf0ae87c6b3a8c907c0d1527ccf9a07194e47196fbeb7cf2a6b99181240bfa4ad75c592cd00c08f42c3dfb4f7bbf2d55b58a9ac487ee1f71ac039709a03a32d184710eafd804168647f02818100cefb9e49dc97aef7f3612f8ed24f48fb21dbefd84c6c9907a2202aa679414df93454167f4108f4f7df9ee533e716ddb4e9262aa4e6c73dbd6391bfcbd85b76478aa1858217545533240ddfc7e9d1b8000d3de44c3db1c0c73cf1884c7586534a915d1c631cd9120dd524d253be240c5c1019f1b67368de4440c719d772f31c7b028181008ce1afb15bd6a181f55d8de92d1ccd355c0679b13714e4d88f467b52af6bee965178445c1c27e98beaef61ba7798b5996df8f4b970c8cc4ff871c2e70b189813e1348c9711e9ce4c6a1c62238555c5b4616728cc99d8c99c95da153a8385490b293b333df18f62bb2fa4096c0b4cddbcdd9232ae66400e94e89be51500f8b7fd02818056df00565bc145ec4737b8f02690a43ed2bd2e7307d06481f1a7b27ee0516a5a777dfb5b397e7ae235f6c897fa1b7cbddb44eb8cfe570d3099c3a84df3e69f43f3894b31887d1aad362aa48b91353616bf78048383394181ddb039d66d550d4c34aa71a99f87f3adde916fbd3a06833178888b0c5a6fdf29a24e6e2820d4ac5502818100ae599a22a26b5a326db2d71369ed67ec80b5bcc393eeab74c27bd94ce6fa2e27c1c1dc26359357844b643621e6e5da88d36959a1521165210ae4ca7ec97ffe3048ab8d310610f4d1f231560c234789de6a2681bc932d6c97210ca1190fb18e75f84d53ee46aab66bbd1d46e7a2cb712946a6bdf582103d18a037b01f9f3b9678",
      "spki": "30820122300d06092a864886f70d01010105000382010f003082010a0282010100ad0d2c2a02287aa2f7e641f09c9063f57f74496267a74fc84da325e145f96d6c5b56b9906d2dfdf475e5a1462b2667505f5e96246253d5817597a51eb795a01e5deb4893ca94d89b8c576b75509a25b2887cd37b61c96b54871868fe07f40db87740696342695db58f03007b364448bf3cf5fdb9b4dcf6ff74c34142be04381f87a64315ebfbbf5388a910e8e01b28a9cc4d54d11029a3a7c4f5706278e5cba3e50506d2ae68d27ed432f2fa74e554715d836f69f56b7dc46c94cfa099182451bce35cb89131d1d61f9944508dc62a308ce35239615235057b86ac074573086c0ff9a9777ef2c9ce64e9f1c480d5d1fc36bea03914f2560c91b63447cab32d050203010001",
      "signature": "21aff648a0b65aa4364f76f3a9402d940cfcab7066bb4e3f8c3afed9c476021ec50d4463f2978c627b7b5a9bbca28da6eccce02e6fc4b82e7ded4f395c5d732c7006575e5aca44cfabaeea075c619df76ba1878fdd03222453a5868edb38aded69c955a8019e2997118dc65c62fc5220cac09b69464e9f4bfda766dac4e033bbf6b807b27a54b1f3d2ebacf2c20cb5dff14a18c9a11cb2d35db128ed0798a1a42a1378fab78264487c5ef868e123621049e50da99988f962e8b40da2d25e2b541c591dc62336c40d9f53d3a579d78b8c463467ac2834e3897a37d84bc76768457a226c3cdd23010e2d7e1f6b7b4648375a54954773fa77b5a35155456e891942"
    },
    "ECDH": {
      "pkcs8": "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b02010104204838c279263b866b9ba368a6f2ca2bc452a278a7c82aa8122abfe55d14dad4f1a14403420004a2aa5477cf67a0d72959f364ad2e6606d5e8648861c4458847cae5535878f07a0158cff30479b9de3c5db27beed99f86a54cdc610c9143cf497a8afd86d76d2f",
      "raw": "04c2c1b3fe9f71df3141ecbe9d0ea9e066712d9ba64696e3f342dff6698faaf77d556312281101337d1df88db7bb4e676f45482853de63706083c26fd639d39c72",
      "shared": "fc3d7ac248d000cc4a104159035ed98d5f70b74d0a94bb14d8c5085cce19e5ef"
    },
    "OAEP": {
      "pkcs8": "308204bc020100300d06092a864886f70d0101010500048204a6308204a20201000282010100e4198c96c9bdbea64b59bed071d2876e7b680366d6cad05acc262666ccfeb37182b874753976fd8efb7ff2b04e4d50d48b9310ab067f3d6118015a83e1854308a9d1cc668f09ce0d611a11fbd3acbac32c472c19b82ee2d17222b1614b6ea9b54e67c9973d7f8b1e740ff0b5ec7b975dd548fc2d646860c6cda0be7488dfebb4f34d1500237204a1f898b4fbc9210a2fc51dc69bac88c4c0dca5580616aaa1edda1a1face0180ab207c7ae48cf98bf716f01399f8e14f6e0e3944eeaa859d2b99d1a8f06c4970f3e1cbc670fd9254ef3e7d85e5f52aa7a03263d4b0d27ec7c52dd935fbc586f78d54ae3a4a3c23e327e2b8e9b9eff810b9fa38a5603f893a0bd020301000102820100141c348aeeca6dce97821812a4965d1e5e7ef31dd3fe199487bf2d4f8eef3dbeda398cfaf0d00ed6d6519781f7c5554507f1355cfebba51bb4541a38da5f3763c2251f1243b6279682631c06c9c8c6c68256dc0a807491c6c97b498c3c6c4b4612dd8fa667e3a0ce54893b3daed5cea8952f541c6467d7706f9ca66dfbcb522a7d51061416ae7adb9407889828b66c23a886391022b58ed3c471bc112f404e57417459ba7438347cbf4abf57efdf931aa0325cd32ffcfa1c90a5f71890384e0e8fbb4e4f3892d172b9544342cfe2b175944926241da272980a063861c1bf90a714f512271dfe9980614a83b71b248ed9e65e54860742b9afb17a431820bf95f902818100f81070ed389f27512a89aa9a5621c19e323417fbb3a0ce9baaa6cdfc7217bab2f837a636b8cee50a1a60cf33c81e4e2f1396cf4342a11af9e828d35a30645da889483e3bcc427bbd63ec6bb92ab69e21e9b3e2cd2342c9bedd3a54e1cf2d63e422ff96f2bc92ba8f3debcd077f56e4a9fdb717f1c190e8ff028eca7db930d8bb02818100eb659b4084ce5d9f8aaa157884defdb01d988826c2ddcaaaad5d3e25248d56b929dae3d950049e6453815696e1659346fef319363e82085131b72b2b7b32f115c881daa6558c6698ca39ab739b506a188a074f798f9cd8799a2b2c669f4fc7f1b6effaeeff1ec810efdd201c9f40895b14c12505f3bc8569488cc134bb4730e7028180092039b7506cf27a56f1479873f0bbf9c0e90fb4cfcfeba9e866488faff6d5847e0336172f47553fc0e6acd8bfd4f5955fc81d89e0eaa25e6d3f0b3f77264a17c82d2334f9f7bc2ba4806f1a19cb2c181d4be3dd1e1df7e410a973b3f6f639858c1011128f036adf982c93976204e556a7a1d3bcae1d51a508080ec4ff4a1fbf0281806d579318131870b0ad0e784eb51987a988f5d3387e07dc1e0fcd62128aba04709a1a8cffe28562b5a37c4ea663287592e2d634fdd7673b49cbd8137b6d0caaa3bdb163c923afc5f06eeefecf027405f4441945376818290dc3290ec4d477909e9ca538604fad12ad9b5d918efa02564b3286cd15c8b3e71c92909f26495fb63d02818038b46a2e2b16121889fe834944af6fd1201235655e9ddb614786f45e0ec9b35bb437807c4d85300f9b0bda1545ab351848323a19070cac45c882607e392b4eb8af2a796ee0c759e6e6365dbf0d59cb09e5d7350750976838709e1d73433576171b8d76e2c2acfbc00190f734380802f42fdd30937a25cf12cf870cdfd9b4a4fa",
      "sealed": "b40997333fbf2ebe57d5bbc56ce1497c1fc2dd86fc6371c200f9ba4fdd6d488e90f6637e47fb2762224329693756935027f7f44059c9be61c1fd3b2cb8f1faeb4e67eaa7cdb62fa782e4f890f369f3f358f90e0f5f50aea5c40761cf5a8c68bfd0008640d205a70f5a5bda8acd9ecdf7e0ef5eae2efd08d165f5deeaa79fd844e98a6a37a413b709dc0be9a3ab7d9e714ddae330bf3692e04bdff2c4e915e621c6a9f4fc43ba8289741024e9557ff12e8354c83f1dff8b2500691dbe7d40223354e2692d2333ac496aca23adb380831a005df6d1e6d5000238e48465e9605df804888a7f18ae473c72550b32e5b613c44b673e80cb79ab874951938e91fe5c4c"
    }
  }
};

const { subtle } = crypto;
const data = new TextEncoder().encode("message");
const count = (length) => new Uint8Array(length).map((_, i) => i + 1);
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (text) => new Uint8Array(text.match(/../g).map((pair) => parseInt(pair, 16)));
const utf8 = (text) => new TextEncoder().encode(text);
const { values, keys } = recorded;

test("digests and HMAC", async () => {
  for (const hash of ["SHA-1", "SHA-256", "SHA-384", "SHA-512"]) {
    equal(hex(await subtle.digest(hash, data)), values[`digest ${hash}`]);
    const key = await subtle.importKey("raw", count(20), { name: "hmac", hash }, true, ["sign", "verify"]);
    const mac = await subtle.sign("HMAC", key, data);
    equal(hex(mac), values[`hmac ${hash}`]);
    equal([await subtle.verify("HMAC", key, mac, data), await subtle.verify("HMAC", key, mac, utf8("other"))], [true, false]);
    equal([await subtle.verify("HMAC", key, mac.slice(1), data), key.algorithm.length], [false, 160]);
    const jwk = await subtle.exportKey("jwk", key);
    equal([jwk.alg, jwk.kty, jwk.k], [`HS${hash.slice(4)}`, "oct", "AQIDBAUGBwgJCgsMDQ4PEBESExQ"]);
    equal(hex(await subtle.exportKey("raw", await subtle.importKey("jwk", jwk, { name: "HMAC", hash }, true, ["sign"]))), hex(count(20)));
  }
});

test("key derivation", async () => {
  const password = await subtle.importKey("raw", utf8("pw"), "PBKDF2", false, ["deriveBits", "deriveKey"]);
  const pbkdf2 = { name: "PBKDF2", hash: "SHA-256", salt: count(8), iterations: 1000 };
  equal(hex(await subtle.deriveBits(pbkdf2, password, 256)), values.pbkdf2);
  const derived = await subtle.deriveKey(pbkdf2, password, { name: "AES-GCM", length: 256 }, true, ["encrypt"]);
  equal(hex(await subtle.exportKey("raw", derived)), values.pbkdf2);
  const ikm = await subtle.importKey("raw", utf8("ikm"), "HKDF", false, ["deriveBits"]);
  equal(hex(await subtle.deriveBits({ name: "HKDF", hash: "SHA-512", salt: count(8), info: utf8("i") }, ikm, 400)), values.hkdf);
});

test("AES", async () => {
  for (const length of [16, 32]) {
    for (const [name, parameters] of [
      ["AES-GCM", { iv: count(12), additionalData: utf8("ad") }], ["AES-CBC", { iv: count(16) }],
      ["AES-CTR", { counter: count(16), length: 64 }],
    ]) {
      const key = await subtle.importKey("raw", count(length), name, false, ["encrypt", "decrypt"]);
      const sealed = await subtle.encrypt({ name, ...parameters }, key, data);
      equal(hex(sealed), values[`${name}${length}`]);
      equal(hex(await subtle.decrypt({ name, ...parameters }, key, sealed)), hex(data));
      if (name === "AES-GCM") {
        new Uint8Array(sealed)[0] ^= 1;
        await rejects("OperationError", "", subtle.decrypt({ name, ...parameters }, key, sealed));
      }
    }
  }
});

test("signatures of others are accepted, and ours are right", async () => {
  for (const [label, algorithm, scheme] of [
    ["P-256", { name: "ECDSA", namedCurve: "P-256" }, { name: "ECDSA", hash: "SHA-256" }],
    ["P-384", { name: "ECDSA", namedCurve: "P-384" }, { name: "ECDSA", hash: { name: "SHA-384" } }],
    ["Ed25519", { name: "Ed25519" }, { name: "Ed25519" }],
    ["RSA", { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, { name: "RSASSA-PKCS1-v1_5" }],
    ["PSS", { name: "RSA-PSS", hash: "SHA-256" }, { name: "RSA-PSS", saltLength: 32 }],
  ]) {
    const { jwk, pkcs8, spki, raw, signature } = keys[label];
    const publicKey = await subtle.importKey("spki", unhex(spki), algorithm, true, ["verify"]);
    const privateKey = await subtle.importKey("pkcs8", unhex(pkcs8), algorithm, true, ["sign"]);
    ok(await subtle.verify(scheme, publicKey, unhex(signature), data), `${label}: recorded signature`);
    const own = await subtle.sign(scheme, privateKey, data);
    if (label === "RSA" || label === "Ed25519") equal(hex(own), signature);
    ok(await subtle.verify(scheme, publicKey, own, data), `${label}: own signature`);
    equal(await subtle.verify(scheme, publicKey, own, utf8("other")), false);
    equal(await subtle.verify(scheme, publicKey, new Uint8Array(3), data), false);
    equal([hex(await subtle.exportKey("pkcs8", privateKey)), hex(await subtle.exportKey("spki", publicKey))], [pkcs8, spki]);
    const { alg: _alg, ext: _ext, key_ops: _ops, ...fields } = jwk;
    const { alg: _alg2, ext: _ext2, key_ops: _ops2, ...exported } = await subtle.exportKey("jwk", privateKey);
    equal(Object.entries(exported).sort(), Object.entries(fields).sort());
    const again = await subtle.importKey("jwk", fields, algorithm, true, ["sign"]);
    equal(hex(await subtle.exportKey("pkcs8", again)), pkcs8);
    const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...publicFields } = fields;
    equal(hex(await subtle.exportKey("spki", await subtle.importKey("jwk", publicFields, algorithm, true, ["verify"]))), spki);
    if (raw) {
      equal(hex(await subtle.exportKey("raw", publicKey)), raw);
      equal(hex(await subtle.exportKey("spki", await subtle.importKey("raw", unhex(raw), algorithm, true, ["verify"]))), spki);
    }
  }
});

test("agreement and encryption with key pairs", async () => {
  const curve = { name: "ECDH", namedCurve: "P-256" };
  const mine = await subtle.importKey("pkcs8", unhex(keys.ECDH.pkcs8), curve, false, ["deriveBits"]);
  const theirs = await subtle.importKey("raw", unhex(keys.ECDH.raw), curve, true, []);
  equal(hex(await subtle.deriveBits({ name: "ECDH", public: theirs }, mine, 256)), keys.ECDH.shared);
  const rsa = { name: "RSA-OAEP", hash: "SHA-256" };
  const key = await subtle.importKey("pkcs8", unhex(keys.OAEP.pkcs8), rsa, true, ["decrypt"]);
  equal(hex(await subtle.decrypt({ name: "RSA-OAEP", label: utf8("l") }, key, unhex(keys.OAEP.sealed))), hex(data));
  equal([key.algorithm.modulusLength, key.algorithm.publicExponent, key.algorithm.hash], [2048, new Uint8Array([1, 0, 1]), { name: "SHA-256" }]);
});

test("generated keys work", async () => {
  const pair = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  equal([pair.privateKey.extractable, pair.publicKey.extractable, pair.privateKey.usages, pair.publicKey.usages], [false, true, ["sign"], ["verify"]]);
  const scheme = { name: "ECDSA", hash: "SHA-256" };
  ok(await subtle.verify(scheme, pair.publicKey, await subtle.sign(scheme, pair.privateKey, data), data));
  const ed = await subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  ok(await subtle.verify("Ed25519", ed.publicKey, await subtle.sign("Ed25519", ed.privateKey, data), data));
  const aes = await subtle.generateKey({ name: "AES-GCM", length: 192 }, true, ["encrypt"]);
  equal((await subtle.exportKey("raw", aes)).byteLength, 24);
  const hmac = await subtle.generateKey({ name: "HMAC", hash: "SHA-512" }, true, ["sign"]);
  equal(hmac.algorithm.length, 1024);
});

test("rules are kept", async () => {
  const key = await subtle.importKey("raw", count(16), "AES-GCM", false, ["encrypt"]);
  equal([key.type, key.extractable, key.usages, Object.prototype.toString.call(key)], ["secret", false, ["encrypt"], "[object CryptoKey]"]);
  await rejects("InvalidAccessError", "extractable", subtle.exportKey("raw", key));
  await rejects("InvalidAccessError", "decrypt", subtle.decrypt({ name: "AES-GCM", iv: count(12) }, key, data));
  await rejects("InvalidAccessError", "AES-GCM", subtle.encrypt({ name: "AES-CBC", iv: count(16) }, key, data));
  await rejects("SyntaxError", "sign", subtle.importKey("raw", count(16), "AES-GCM", false, ["sign"]));
  await rejects("SyntaxError", "usage", subtle.importKey("raw", count(16), "AES-GCM", false, []));
  await rejects("DataError", "bits", subtle.importKey("raw", count(15), "AES-GCM", false, ["encrypt"]));
  await rejects("DataError", "", subtle.importKey("spki", count(15), { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]));
  await rejects("NotSupportedError", "ROT13", subtle.digest("ROT13", data));
  await rejects("TypeError", "data", subtle.digest("SHA-1", "text"));
  throws("TypeError", "Illegal constructor", () => new CryptoKey());
});
