module BeowulfLab
  # What a Vagrantfile can set in `provider "uml"`.
  class Config < Vagrant.plugin("2", :config)
    # The lab's name; another name is another lab beside it.
    attr_accessor :lab

    # The Ansible inventory, a directory, that says which machines there are.
    attr_accessor :inventory

    def initialize
      @lab = UNSET_VALUE
      @inventory = UNSET_VALUE
    end

    def finalize!
      @lab = "lab" if @lab == UNSET_VALUE
      @inventory = File.join(REPOSITORY, "inventory/lab") if @inventory == UNSET_VALUE
    end
  end
end
