/**
 * What the project knows of each data set: what it is, where it is public, under which terms, and which bytes it should have.
 * The sums of files and folders are those of the collection described in docs/data.md.
 */

export const DATA_SET_NAMES = [
  "fashion-mnist",
  "gz1",
  "gz2",
  "gz2-apply",
  "gz-tables",
  "efigi",
  "na10",
] as const;
export type DataSetName = (typeof DATA_SET_NAMES)[number];

/** The classes of the real-data study, in the order of the network's outputs. */
export const GALAXY_ZOO_CLASSES = ["Early type", "Edge-on disc", "Spiral"] as const;

/** The classes of the paper, from T-Types. */
export const T_TYPE_CLASSES = ["Elliptical", "Lenticular", "Spiral"] as const;

export const FASHION_MNIST_CLASSES = [
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
] as const;

/** A file of known content. */
export interface KnownFile {
  /** Path inside the data set's folder. */
  readonly path: string;
  /** SHA-256 of each content that is right: of the official file, and of Debian's where that differs. */
  readonly sha256: readonly string[];
  /** The data set works without it. */
  readonly optional?: boolean;
}

/** A folder of images. */
export interface KnownFolder {
  /** Path inside the data set's folder. */
  readonly path: string;
  /** Images in it, sub-folders included, as this collection has them. */
  readonly count: number;
  /** SHA-256 of the output of `find FOLDER -type f | LC_ALL=C sort | xargs sha256sum`, run beside the data set. */
  readonly manifest: string;
  /** How many images the public home has, where that is another collection than the one the sum is of. */
  readonly publicCount?: number;
  /** Why a public copy has other bytes or another number of images. */
  readonly publicDiffers?: string;
  /** Only a few images, for trying the readers. */
  readonly sample?: boolean;
}

/** The stored galaxy fills another part of the public original: which part, recognised by the original's width. */
export interface OriginalCrop {
  readonly originalWidth: number;
  readonly keptWidth: number;
}

/** Where a data set can be had. */
export interface FetchSource {
  /** A folder of a GitHub repository at a commit, a single file, or a tar.gz. */
  readonly url: string;
  /** One file: its name in the data set. */
  readonly saveAs?: string;
  /** An archive: each entry whose path matches is unpacked to `to` (with $1, $2 of the match). First match wins. */
  readonly unpack?: readonly { readonly match: RegExp; readonly to: string }[];
  readonly sha256?: string;
}

export interface DataSetInfo {
  readonly name: DataSetName;
  readonly title: string;
  /** The file or folder whose presence makes a folder this data set. */
  readonly marker: string;
  readonly files: readonly KnownFile[];
  readonly folders: readonly KnownFolder[];
  readonly licence: string;
  readonly cite: string;
  readonly home: string;
  readonly crop?: OriginalCrop;
  /** Present if `tuningfork data fetch NAME` works. */
  readonly fetch?: readonly FetchSource[];
  /** Small text files that are derived, not public, and travel with the project. */
  readonly derived?: readonly { readonly path: string; readonly text: string }[];
  /** How else it can be had, where fetch cannot get it. */
  readonly otherwise?: string;
}

const SDSS_TERMS =
  "the repository states none; SDSS images are CC-BY / public domain (credit the Sloan Digital Sky Survey)";

const CODELOAD = "https://codeload.github.com";
const RAW = "https://raw.githubusercontent.com";

const FASHION_MNIST_RAW = `${RAW}/zalandoresearch/fashion-mnist/b2617bb6d3ffa2e429640350f613e3291e10b141`;

/** [file, SHA-256 of the official file, SHA-256 of the same stream as Debian's package holds it]. */
const FASHION_MNIST_FILES = [
  [
    "train-images-idx3-ubyte.gz",
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
  ],
  [
    "train-labels-idx1-ubyte.gz",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
  ],
  [
    "t10k-images-idx3-ubyte.gz",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
  ],
  [
    "t10k-labels-idx1-ubyte.gz",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
  ],
] as const;

/** The six cutouts that gz1 shares with gz2 or gz2-apply, found by correlation and looked at. */
const GZ1_DUPLICATES = `gz1_objid,gz1_class,other_set,other_path
587731173842026987,2,gz2,images/spiral/599517.jpg
588848900966121775,0,gz2,images/elliptical/139202.jpg
587739131351925080,0,gz2-apply,train/non_spirals/996480.jpg
587730021722423476,0,gz2-apply,train/non_spirals/136255.jpg
587731869633675331,3,gz2-apply,train/non_spirals/221571.jpg
587725552267493660,2,gz2-apply,validation/non_spirals/232935.jpg
`;

const CATALOGUE: Readonly<Record<DataSetName, DataSetInfo>> = {
  "fashion-mnist": {
    name: "fashion-mnist",
    title: "Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28, ten classes",
    marker: "train-images-idx3-ubyte.gz",
    files: FASHION_MNIST_FILES.map(([path, official, debian]) => ({
      path,
      sha256: [official, debian],
    })),
    folders: [],
    licence: "MIT, (c) 2017 Zalando SE",
    cite: "Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
    home: "https://github.com/zalandoresearch/fashion-mnist",
    fetch: [
      ...FASHION_MNIST_FILES.map(([path, official]) => ({
        url: `${FASHION_MNIST_RAW}/data/fashion/${path}`,
        saveAs: path,
        sha256: official,
      })),
      { url: `${FASHION_MNIST_RAW}/LICENSE`, saveAs: "LICENSE" },
    ],
    otherwise: "or apt-get install dataset-fashion-mnist",
  },
  gz1: {
    name: "gz1",
    title:
      "Galaxy Zoo 1 sample: 6,664 SDSS colour cutouts with the majority class of the volunteers",
    marker: "smallCSV_class.csv",
    files: [
      {
        path: "smallCSV_class.csv",
        sha256: ["16bf199b3d564ed3598976a4a3006839057d12173a2ef53cb5bb0c7d892b18f6"],
      },
      {
        path: "README.txt",
        sha256: ["3e91e7a778e781335484972f0a3f256bf020d4f660182fed597fdf66aa4e0b7a"],
        optional: true,
      },
      {
        path: "schawinski2010_match.csv",
        sha256: ["5727fce74048d8b348700a320ea32383a86d86898b2843f423fe53f2e7039724"],
        optional: true,
      },
      {
        path: "duplicates.csv",
        sha256: ["db0797f1dcefc1a9e33e111713a8049e3f8ea74d69db38a28e75835bd70446ba"],
      },
    ],
    folders: [
      {
        path: "images",
        count: 6664,
        manifest: "8a80ed5e9345ddc28b2e2a69c1145da164dad36cb7cb0a17664279bed9e6c029",
        publicCount: 6664,
        publicDiffers: "the public originals are 423x423, this sum is of their central 231x231",
      },
    ],
    licence: SDSS_TERMS,
    cite: "Lintott+ 2008, MNRAS 389, 1179; Lintott+ 2011, MNRAS 410, 166",
    home: "https://github.com/Eggochi/Proyecto_Galaxias (commit 5226e5e4)",
    crop: { originalWidth: 423, keptWidth: 231 },
    fetch: [
      {
        url: `${CODELOAD}/Eggochi/Proyecto_Galaxias/tar.gz/5226e5e4e193118d33884a85acf09e41cfa914de`,
        unpack: [
          { match: /^[^/]+\/smallGZ1\/Imagenes\/(\d+\.jpeg)$/, to: "images/$1" },
          { match: /^[^/]+\/smallGZ1\/(smallCSV_class\.csv|README\.txt)$/, to: "$1" },
        ],
      },
    ],
    derived: [{ path: "duplicates.csv", text: GZ1_DUPLICATES }],
  },
  gz2: {
    name: "gz2",
    title:
      "Galaxy Zoo 2 sample: SDSS colour cutouts, 299x299, in four folders by votes of 70 % or more",
    marker: "images",
    files: [],
    folders: [
      {
        path: "images",
        count: 1367,
        manifest: "68391e96df2369efb0e938e2a80ea4c5d40c5e8f7ed004e53d71a027131b958c",
        publicCount: 1517,
        publicDiffers:
          "the public folder has 1,517 images (815 elliptical, 421 spiral, 95 barred, 186 edge-on); this sum is of 1,367 of them",
      },
    ],
    licence: SDSS_TERMS,
    cite: "Willett+ 2013, MNRAS 435, 2835; by way of the 2014 Kaggle Galaxy Challenge",
    home: "https://github.com/emle2899/CNN_galaxy_classification (commit 15ab2734)",
    fetch: [
      {
        url: `${CODELOAD}/emle2899/CNN_galaxy_classification/tar.gz/15ab2734bddeadcaa805b48a70cd3668de486e9f`,
        unpack: [
          {
            match:
              /^[^/]+\/app\/static\/(elliptical|spiral|barred_spiral|edge_view_spiral)\/(\d+\.jpg)$/,
            to: "images/$1/$2",
          },
        ],
      },
    ],
  },
  "gz2-apply": {
    name: "gz2-apply",
    title:
      "1,997 further Galaxy Zoo 2 cutouts, to be classified, not learned from (labels unreliable)",
    marker: "train",
    files: [],
    folders: [
      {
        path: "",
        count: 1997,
        manifest: "1c0f8edae522f80860576b41596814638a5563814e9d0252bb462ba778f01089",
        publicCount: 2000,
        publicDiffers: "the public originals are 424x424, this sum is of their central 232x232",
      },
    ],
    licence: SDSS_TERMS,
    cite: "Willett+ 2013, MNRAS 435, 2835; by way of the 2014 Kaggle Galaxy Challenge",
    home: "https://github.com/isi-mube/Cosmic-Compendium (data/galaxies, commit 05482aa2)",
    crop: { originalWidth: 424, keptWidth: 232 },
    otherwise: "copy data/galaxies of the repository above to gz2-apply",
  },
  "gz-tables": {
    name: "gz-tables",
    title:
      "Schawinski+ 2010: redshift, stellar mass, velocity dispersion and GZ1 class of 47,675 galaxies",
    marker: "schawinski_GZ_2010_catalogue.fits.gz",
    files: [
      {
        path: "schawinski_GZ_2010_catalogue.fits.gz",
        sha256: ["f3f5ffbd7913620445254ec3d8680aa2a07c45f18ad3ef6056a5e0a29d7e111a"],
      },
    ],
    folders: [],
    licence: "the repository states none; data.galaxyzoo.org asks to cite",
    cite: "Schawinski+ 2010, ApJ 711, 284; Lintott+ 2008, 2011",
    home: "https://github.com/wickedalchemist/DSI_PythonIITutorial (commit 898dbc5b)",
    otherwise: "copy schawinski_GZ_2010_catalogue.fits.gz of the repository above to gz-tables",
  },
  efigi: {
    name: "efigi",
    title: "EFIGI v1.6.2: 4,458 SDSS galaxies with T-Type and 16 attributes, 255x255 colour images",
    marker: "EFIGI_attributes.txt",
    files: [
      {
        path: "EFIGI_attributes.txt",
        sha256: ["ad13daaa02f7600206e861b3ab860b330b1165d20dff5a3bbd162dede8a2d22b"],
      },
      {
        path: "data.tsv",
        sha256: ["19473765e08f01fc1812ae8f653885c25b6fab394feb60cd1f8b58a67b67c017"],
        optional: true,
      },
    ],
    folders: [
      {
        path: "png",
        count: 15,
        manifest: "674f8aa4acede13105f8dd59b8516ceeca9121c103b70bef66aadc59ff2fd7a4",
        publicCount: 4458,
        publicDiffers:
          "the public archive has 4,458 images and no published sum; this sum is of a sample",
        sample: true,
      },
      {
        path: "fits",
        count: 6,
        manifest: "3b3128daeb4bc229bea70d073a8bdae1eac1071f5ac170e431759d7d5b99d9c8",
        sample: true,
      },
    ],
    licence: "none stated; any use must reference Baillard+ 2011; images SDSS",
    cite: "Baillard+ 2011, A&A 532, A74",
    home: "https://www.astromatic.net/projects/efigi/",
    fetch: [
      // The table also is in efigi_tables-1.6.2.tgz beside the images; this pinned copy has a known sum, that has none.
      {
        url: `${RAW}/DavidThorn03/Galaxy-Classifier/243841d882126585e739dc674451eaa713f018c8/EFIGI_attributes.txt`,
        saveAs: "EFIGI_attributes.txt",
        sha256: "ad13daaa02f7600206e861b3ab860b330b1165d20dff5a3bbd162dede8a2d22b",
      },
      {
        url: "https://www.astromatic.net/download/efigi/efigi_png_gri-1.6.tgz",
        unpack: [{ match: /(?:^|\/)(PGC\d{7}\.png)$/, to: "png/$1" }],
      },
    ],
  },
  na10: {
    name: "na10",
    title: "Nair & Abraham 2010: 14,034 SDSS DR4 galaxies with T-Types",
    marker: "",
    files: [],
    folders: [
      {
        path: "fits",
        count: 5,
        manifest: "c6214ce33bfbec635e568368bf1d0195fc313e38a4bcf0cee933d0fcd91b5535",
        sample: true,
      },
    ],
    licence: "none stated; SDSS data",
    cite: "Nair & Abraham 2010, ApJS 186, 427",
    home: "https://cdsarc.cds.unistra.fr/viz-bin/cat/J/ApJS/186/427",
    otherwise:
      "save the table of VizieR's J/ApJS/186/427 with its columns JID and TT as na10/table.csv (or .tsv), and an image of each galaxy, named by its JID, in na10/images",
  },
};

/** What is known of the data set `name`. */
export function dataSetInfo(name: DataSetName): DataSetInfo {
  return CATALOGUE[name];
}

/** True for a name of the catalogue; any other is a folder or a table of the user. */
export function isDataSetName(name: string): name is DataSetName {
  return (DATA_SET_NAMES as readonly string[]).includes(name);
}

/** One sentence on how to get the data set. */
export function howToGet(info: DataSetInfo): string {
  const ways: string[] = [];
  if (info.fetch) ways.push(`get it with: tuningfork data fetch ${info.name}`);
  else ways.push(`its public home: ${info.home}`);
  if (info.otherwise) ways.push(info.otherwise);
  return ways.join("; ");
}
